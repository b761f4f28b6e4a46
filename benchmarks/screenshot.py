"""A page as Chromium shows it: `python -m benchmarks.screenshot PAGE.html OUT.png --width 390`.

Needs Chromium on PATH (Debian: `apt-get install chromium`). The picture holds the whole page.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
_SECONDS = 120  # a page of 57 games takes five
_TALLEST = 16_000  # pixels: beyond it Chromium cuts the picture
_MARGIN = 24  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a page became in the browser."""

    dom: str  # after its scripts have run
    console: list[str]  # lines: errors, warnings, what scripts printed


def chromium() -> str | None:
    """The path of Chromium, if there is one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def open_page(page: Path) -> Opened:
    """Opens a page and returns its DOM and what the console says.

    Raises:
        FileNotFoundError: no Chromium on PATH.
        subprocess.SubprocessError: it failed, or took two minutes.
    """
    done = _run(page, "--dump-dom")
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Opened(dom=done.stdout, console=console)


def take_screenshot(page: Path, out: Path, *, width: int = 1280, dark: bool = False) -> None:
    """Writes a PNG of the whole page, `width` pixels wide. Raises as `open_page`."""
    flags = [f"--screenshot={out.resolve()}", f"--window-size={width},{_TALLEST}"]
    _run(page, *flags, *(["--blink-settings=preferredColorScheme=0"] if dark else []))
    with Image.open(out) as image:
        picture = image.convert("RGB")
    empty = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    box = ImageChops.difference(picture, empty).getbbox() or (0, 0, width, 1)
    picture.crop((0, 0, width, min(picture.height, box[3] + _MARGIN))).save(out)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Takes a picture of a whole page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="pixels")
    parser.add_argument("--dark", action="store_true", help="as in a dark room")
    asked = parser.parse_args()
    take_screenshot(asked.page, asked.out, width=asked.width, dark=asked.dark)


def _run(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    program = chromium()
    if program is None:
        raise FileNotFoundError(f"chromium must be on PATH, found none of {', '.join(_NAMES)}")
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [program, *_FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )


if __name__ == "__main__":
    main()

"""The page in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.screenshot import Opened, chromium, open_page, take_screenshot
from tests.tuning import reports
from tuning.report.figures import draw_figures
from tuning.report.page import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no chromium on PATH"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = reports.report(reports.sweep(reports.some(3), 2))
    return write_page(report, tmp_path_factory.mktemp("page"), draw_figures(report))


@pytest.fixture(scope="module")
def opened(path: Path) -> Opened:
    return open_page(path)


def test_tables_and_figures_are_there(opened: Opened):
    assert opened.dom.count("<table") == 4
    assert opened.dom.count("<svg") == 4
    assert opened.dom.count("Amidar") > 3


def test_the_console_is_silent(opened: Opened):
    assert opened.console == []


def test_our_script_ran_and_gave_the_heads_buttons(opened: Opened, path: Path):
    assert "<button" not in path.read_text()
    assert opened.dom.count("<button") > 10


def test_the_console_of_a_broken_page_is_heard(tmp_path: Path):
    broken = tmp_path / "broken.html"
    broken.write_text("<script>nothing_of_the_kind()</script>")
    assert "nothing_of_the_kind is not defined" in open_page(broken).console[0]


def test_a_script_that_came_in_a_name_does_not_run(path: Path, tmp_path: Path):
    let_in = tmp_path / "let_in.html"
    evil = "<script>document.body.dataset.caught = 'yes'</script></body>"
    let_in.write_text(path.read_text().replace("</body>", evil))
    opened = open_page(let_in)
    assert 'data-caught="yes"' not in opened.dom
    assert "Content Security Policy" in opened.console[0]


def test_a_click_on_a_head_sorts_by_its_column(path: Path, tmp_path: Path):
    clicked = tmp_path / "clicked.html"
    heads = "document.querySelectorAll('section:last-of-type table')[0].querySelectorAll('button')"
    text = path.read_text().replace("</body>", f"<script>{heads}[3].click()</script></body>")
    text = text.replace("script-src '", "script-src 'unsafe-inline' '").replace("'sha256-", "'not-")
    clicked.write_text(text)
    dom = open_page(clicked).dom
    table = dom[dom.index("Games, final weights: returns") :]
    assert 'aria-sort="descending"' in table
    rows = [table.index(f'<th scope="row">{game}') for game in ("Assault", "Amidar", "Alien")]
    assert rows == sorted(rows)


def test_a_screenshot_holds_the_whole_page(path: Path, tmp_path: Path):
    take_screenshot(path, tmp_path / "page.png", width=390)
    with Image.open(tmp_path / "page.png") as image:
        width, height = image.size
    assert width == 390
    assert 2000 < height < 15000


def test_a_dark_room_has_a_dark_page(path: Path, tmp_path: Path):
    take_screenshot(path, tmp_path / "light.png", width=600)
    take_screenshot(path, tmp_path / "dark.png", width=600, dark=True)
    corners = [Image.open(tmp_path / f"{name}.png").getpixel((2, 2)) for name in ("light", "dark")]
    assert min(corners[0]) > 240
    assert max(corners[1]) < 60

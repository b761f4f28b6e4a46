"""`ez info`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import rllib_ez
from cli.errors import one_line
from rllib_ez.core.cores import usable_cores

PACKAGES = ("ray", "torch", "gymnasium", "ale-py", "numba", "numpy", "onnxruntime")


@one_line
def info(
    settings: Annotated[
        bool, typer.Option("--settings", help="Also every setting with its default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Versions, devices, memory and presets: what to send along with a question."""
    facts = gather(settings=settings)
    if as_json:
        print(json.dumps(facts))
        return
    console = Console(highlight=False)
    for title, entries in facts.items():
        console.print(section(title, entries))


def gather(*, settings: bool) -> dict[str, dict[str, Any]]:
    """The facts, by section."""
    from rllib_ez.algorithm.config import known_settings
    from rllib_ez.algorithm.presets import list_presets
    from rllib_ez.core.replay.memory import available_bytes

    free = available_bytes()
    facts: dict[str, dict[str, Any]] = {
        "versions": {"rllib_ez": rllib_ez.__version__, "python": platform.python_version()}
        | {name: installed(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "cpu cores": usable_cores(),
            "free memory": "unknown" if free is None else f"{free / 2**30:.1f} GiB",
            "devices": ", ".join(devices()),
        },
        "presets": {preset.name: preset.description for preset in list_presets()},
    }
    if settings:
        facts["settings"] = known_settings()
    return facts


def section(title: str, entries: dict[str, Any]) -> Table:
    """A section as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.show_header = False
    for name, value in entries.items():
        table.add_row(name, str(value))
    return table


def installed(package: str) -> str:
    """Its version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def devices() -> list[str]:
    """What torch can compute on."""
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{i} {name}" for i, name in enumerate(names))]

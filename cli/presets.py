"""`ez presets`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.errors import one_line

if TYPE_CHECKING:
    from rllib_ez.algorithm.presets import Preset

NAME = typer.Argument(
    help="A preset; with --diff also several, as atari100k+no_consistency.", show_default=False
)
DIFF = typer.Option(
    "--diff", metavar="OTHER", help="Instead, which settings differ from those of OTHER."
)
JSON = typer.Option("--json", help="The last line of stdout is one JSON object.")

presets = typer.Typer(help="Read the presets, and compare them.", no_args_is_help=True)


@presets.callback()
def group() -> None:
    """Read the presets, and compare them."""


@presets.command("list")
@one_line
def list_all(as_json: Annotated[bool, JSON] = False) -> None:
    """Lists recipes, then overlays, which change a recipe."""
    from rllib_ez.algorithm.presets import list_presets

    found = list_presets()
    if as_json:
        print(json.dumps({"presets": [summary(preset) for preset in found]}), flush=True)
    else:
        Console(highlight=False).print(list_table(found))


@presets.command()
@one_line
def show(
    name: Annotated[str, NAME],
    diff: Annotated[str | None, DIFF] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Shows a preset's file as it stands, or what sets it apart from another."""
    from rllib_ez.algorithm.presets import load_preset, preset_text

    if diff is not None:
        show_difference(name, diff, as_json=as_json)
        return
    preset, text = load_preset(name), preset_text(name)
    if as_json:
        print(json.dumps(summary(preset) | asdict(preset) | {"text": text}), flush=True)
        return
    if preset.base is not None:
        typer.echo(f"# base: {preset.base} (what is not here is as there)\n")
    typer.echo(text, nl=False)


def show_difference(name: str, other: str, *, as_json: bool) -> None:
    """Prints the settings in which two presets, or stacks of them, differ."""
    rows = differences(name, other)
    if as_json:
        print(json.dumps({"name": name, "other": other, "differences": rows}), flush=True)
    elif rows:
        Console(highlight=False).print(difference_table(name, other, rows))
    else:
        typer.echo(f"{name} and {other} give the same settings")


def differences(name: str, other: str) -> list[dict[str, Any]]:
    """A row for each setting in which two presets differ, in the order of docs/settings.md.

    Args:
        name: of presets, the later on top: "recipe+overlay".
        other: the same.

    Raises:
        SettingError: there is no such preset.
    """
    from rllib_ez.algorithm.presets import stacked

    ours, theirs, defaults = stacked(name.split("+")), stacked(other.split("+")), stacked([])
    return [
        {"setting": key, "value": ours[key], "other": theirs[key], "default": defaults[key]}
        for key in ours
        if ours[key] != theirs[key]
    ]


def summary(preset: Preset) -> dict[str, Any]:
    """What a list says of a preset."""
    return {
        "name": preset.name,
        "kind": "overlay" if preset.is_overlay else "recipe",
        "base": preset.base,
        "description": preset.description,
        "env_steps": preset.env_steps,
    }


def list_table(found: list[Preset]) -> Table:
    """A row for each preset."""
    table = Table(box=None, padding=(0, 2))
    table.add_column("preset", style="cyan", no_wrap=True)
    table.add_column("kind")
    table.add_column("env steps", justify="right")
    table.add_column("description", overflow="fold")
    for preset in found:
        steps = "" if preset.env_steps is None else f"{preset.env_steps:,}"
        row = summary(preset)
        table.add_row(row["name"], row["kind"], steps, row["description"].removeprefix("overlay: "))
    return table


def difference_table(name: str, other: str, rows: list[dict[str, Any]]) -> Table:
    """A row for each setting, the default last."""
    table = Table(box=None, padding=(0, 2))
    for column in ("setting", name, other, "default"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row["setting"], row["value"], row["other"], row["default"])
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))
    return table

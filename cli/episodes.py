"""`ez episodes`."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from cli.errors import one_line
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from rllib_ez.core.replay.archive import ArchiveContents, EpisodeSummary

FOLDER = "episodes"  # of a run's folder
SHOWN = 20
ARCHIVE = typer.Argument(help="A run, or an archive: a folder or a URI.", show_default=False)


@one_line
def episodes(
    archive: Annotated[str, ARCHIVE],
    last: Annotated[
        int | None,
        typer.Option(
            help=f"How many to list, the newest; {SHOWN} if not given, all with --json.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Lists archived episodes: lengths, scores, and how much of the disk they take."""
    from rllib_ez.core.replay.archive import read_contents

    if last is not None and last < 1:
        raise SettingError(f"last must be >= 1, got {last}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        contents = read_contents(archive_of(archive))
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    for warning in (w for w in caught if w.category is UserWarning):
        errors.print(f"[yellow]warning:[/] {escape(str(warning.message))}")
    if as_json:
        shown = contents.episodes[-(last or 0) :]
        print(json.dumps(summary(contents) | {"rows": [asdict(episode) for episode in shown]}))
        return
    console = Console(highlight=False)
    console.print(table(contents.episodes[-(last or SHOWN) :]))
    console.print(summary_line(summary(contents)), soft_wrap=True)


def archive_of(given: str) -> str:
    """The archive of a run, or what was given if it is no run's folder."""
    inside = Path(given) / FOLDER
    return str(inside) if "://" not in given and inside.is_dir() else given


def summary(contents: ArchiveContents) -> dict[str, Any]:
    """The archive in numbers."""
    scores = [episode.score for episode in contents.episodes]
    return {
        "env": contents.spec.env,
        "frame_shape": list(contents.spec.frame_shape),
        "frame_dtype": contents.spec.frame_dtype,
        "num_actions": contents.spec.num_actions,
        "episodes": len(scores),
        "steps": sum(episode.num_steps for episode in contents.episodes),
        "files": contents.num_files,
        "bytes": contents.num_bytes,
        "score_mean": sum(scores) / len(scores),
        "score_min": min(scores),
        "score_max": max(scores),
    }


def summary_line(numbers: dict[str, Any]) -> str:
    """The same for people."""
    shape = "x".join(map(str, numbers["frame_shape"]))
    return (
        f"{escape(numbers['env'])}, frames {shape} {numbers['frame_dtype']}: "
        f"{numbers['episodes']:,} episodes, {numbers['steps']:,} steps, "
        f"{numbers['bytes'] / 2**20:,.1f} MiB in {numbers['files']:,} files; "
        f"mean score [bold]{numbers['score_mean']:.2f}[/] "
        f"(min {numbers['score_min']:g}, max {numbers['score_max']:g})"
    )


def table(rows: list[EpisodeSummary]) -> Table:
    """A line each, the newest last."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("episode", "steps", "score", "return", "ended", "at updates"):
        justify: JustifyMethod = "left" if title == "ended" else "right"
        drawn.add_column(title, justify=justify, overflow="fold")  # never cut to an ellipsis
    for row in rows:
        drawn.add_row(
            str(row.episode_id),
            str(row.num_steps) if row.is_whole else f"last {row.num_steps}",
            f"{row.score:g}",
            f"{row.reward_sum:g}",
            "terminated" if row.terminated else "truncated",
            f"{row.first_update}-{row.last_update}",
        )
    return drawn

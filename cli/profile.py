"""`ez profile`."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import one_line
from rllib_ez.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    from cli.order import Order
    from rllib_ez.runs.stages import Report

NO_END = 10**12  # env steps: the clock ends a measurement, not the run's length
RUN = typer.Argument(help="A run that `ez train` made.", show_default=False)


@one_line
def profile(
    run: Annotated[Path | None, RUN] = None,
    env: Annotated[
        str | None, typer.Option(help="Measure a short run instead; as in [dim]ez train[/].")
    ] = None,
    game: Annotated[str | None, typer.Option(help="The same.")] = None,
    preset: Annotated[list[str] | None, typer.Option(help="The same.")] = None,
    assignment: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="The same.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long, from the first update on.")] = 30.0,
    num_env_runners: Annotated[int | None, typer.Option(help="As in `ez train`.")] = None,
    num_learners: Annotated[int | None, typer.Option(help="The same.")] = None,
    num_reanalyse_actors: Annotated[int | None, typer.Option(help="The same.")] = None,
    num_replay_shards: Annotated[int | None, typer.Option(help="The same.")] = None,
    address: Annotated[str | None, typer.Option(metavar="auto|HOST:PORT", help="The same.")] = None,
    threads: Annotated[int | None, typer.Option(help="The same.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Where the time of a run goes, by process and stage, and what would make it faster."""
    from cli.order import is_given

    options = {
        "num_env_runners": num_env_runners,
        "num_learners": num_learners,
        "num_reanalyse_actors": num_reanalyse_actors,
        "num_replay_shards": num_replay_shards,
        "threads": threads,
    }
    if run is not None:
        given = {"env": env, "game": game, "preset": preset, "set": assignment, **options}
        found = recorded(run, [name for name, value in given.items() if is_given(value)])
    else:
        choice = {"env": env, "game": game, "preset": preset or []}
        found = measured(choice, assignment or [], options, seconds=seconds, address=address)
    if as_json:
        print(json.dumps(asdict(found)), flush=True)
        return
    console = Console(highlight=False)
    console.print(table_of(found))
    console.print(found.advice, soft_wrap=True)


def recorded(run: Path, given: list[str]) -> Report:
    """What `ez train` noted of a run.

    Raises:
        SettingError: options were given that only a new run can have.
        CheckpointError: the folder holds no run, or one of before stages were noted.
    """
    from rllib_ez.core.progress import read_progress
    from rllib_ez.runs.plan import Plan
    from rllib_ez.runs.stages import StageSeconds, report

    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise SettingError(f"a run has its settings already, got {names}: leave out {run}")
    plan = Plan.read(run)
    noted = StageSeconds.after(read_progress(run))
    if not noted.stages:
        raise CheckpointError(
            f"a run must have noted its stages, got {str(run)!r}, which has no finished round "
            "since it could: measure one by ez profile --env"
        )
    return report(noted.training_seconds, noted.stages, plan.settings)


def measured(
    choice: dict[str, Any],
    assignments: list[str],
    options: dict[str, Any],
    *,
    seconds: float,
    address: str | None,
) -> Report:
    """Trains for a while in a folder that does not stay."""
    from cli.order import begun

    if seconds <= 0:
        raise SettingError(f"seconds must be > 0, got {seconds:g}")
    with tempfile.TemporaryDirectory(prefix="ez-profile-") as folder:
        order = begun(choice, assignments, options, Path(folder) / "run", address=address)
        return timed(replace(order, plan=replace(order.plan, env_steps=NO_END)), seconds)


def timed(order: Order, seconds: float) -> Report:
    """Runs rounds until the first update is made, then measures the following ones."""
    from cli.building import built
    from rllib_ez.core.cores import usable_cores
    from rllib_ez.runs.stages import combined, report

    console = Console(stderr=True, highlight=False)
    with built(order, console) as algo:
        pipeline = algo.pipeline
        with console.status("") as line:
            while pipeline.num_updates == 0:
                algo.train()
                line.update(f"{pipeline.num_env_steps:,} env steps before the first update")
            before, start = pipeline.seconds(), time.monotonic()
            while (passed := time.monotonic() - start) < seconds:
                line.update(f"measuring: {passed:.0f} of {seconds:.0f} s")
                algo.train()
        spent = combined(pipeline.seconds(), before, sign=-1)
        cores = usable_cores() if order.address is None else None
        return report(time.monotonic() - start, spent, order.plan.settings, cores=cores)


def table_of(found: Report) -> Table:
    """A row for each stage."""
    title = f"{found.wall_seconds:.1f} s of training"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("process", "role", "stage"):
        table.add_column(column)
    for column in ("seconds", "share"):
        table.add_column(column, justify="right")
    last = ""
    for row in found.rows:
        name = f"{row.process} x {row.processes}" if row.process != "driver" else "driver"
        shown = "" if name == last else name
        last = name
        table.add_row(shown, row.role, row.stage, f"{row.seconds:.1f}", f"{row.share:.1%}")
    return table

"""`ez bench`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import one_line
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from rllib_ez.core.search_timing import SearchTiming

CHECKPOINT = typer.Argument(help="A checkpoint, or a run (then its newest).", show_default=False)

bench = typer.Typer(help="Measure how fast this machine is.", no_args_is_help=True)


@bench.callback()
def group() -> None:
    """Measure how fast this machine is."""


@bench.command()
@one_line
def search(
    checkpoint: Annotated[Path, CHECKPOINT],
    batch_sizes: Annotated[
        str, typer.Option(help="Roots searched together, a row for each.")
    ] = "1,8,32",
    simulations: Annotated[
        int | None, typer.Option(help="Of each search; as in the run if not given.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="For torch; what `ez train` takes if not given.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto (the fastest), compiled or torch.")] = "auto",
    seconds: Annotated[float, typer.Option(help="Time for each row.")] = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Times searches with an agent's network on random observations."""
    import torch

    from rllib_ez.core.agent_card import read_agent
    from rllib_ez.core.search_timing import SearchRun, load_engine, random_observations
    from rllib_ez.runs.threads import default_threads

    sizes = whole_numbers("batch_sizes", batch_sizes.split(","))
    card, weights = read_agent(checkpoint)
    if simulations is not None:
        card = replace(card, search=replace(card.search, num_simulations=simulations))
    if threads is not None:
        whole_numbers("threads", [str(threads)])
    torch.set_num_threads(threads or default_threads(card.model.network))
    model = load_engine(card.model, weights, engine=engine)
    timings = []
    for size in sizes:
        observations = random_observations(card.model, size, seed=card.seed)
        run = SearchRun(model, card.search, observations, root_noise=False)
        timings.append(run.time(seconds=seconds))
    report = {
        "env": card.env,
        "search_method": card.search.search_method,
        "engine": engine,
        "threads": torch.get_num_threads(),
        "timings": [asdict(timing) for timing in timings],
    }
    if as_json:
        print(json.dumps(report), flush=True)
    else:
        title = "{env}, {search_method}, engine: {engine}, threads: {threads}".format(**report)
        Console(highlight=False).print(table_of(title, timings))


def whole_numbers(name: str, texts: list[str]) -> list[int]:
    """The numbers, each at least 1."""
    if not all(text.strip().isdecimal() and int(text) >= 1 for text in texts):
        raise SettingError(f"{name} must be whole numbers >= 1, got {','.join(texts)!r}")
    return [int(text) for text in texts]


def table_of(title: str, timings: list[SearchTiming]) -> Table:
    """A row for each batch size."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for column in ("roots", "simulations", "ms a search", "µs a simulation", "outside network"):
        table.add_column(column, justify="right")
    for timing in timings:
        table.add_row(
            str(timing.batch_size),
            str(timing.num_simulations),
            f"{timing.ms_per_search:.2f}",
            f"{timing.us_per_simulation:.2f}",
            f"{timing.outside_network:.0%}",
        )
    return table

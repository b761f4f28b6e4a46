"""A report in a terminal: games and what made their runs, the best checkpoints beside them,
aggregates, samples, comparisons, times, notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from rllib_ez.runs.status import clock_time
from tuning.report.foot import runs_in_words
from tuning.report.model import (
    BestScores,
    Comparison,
    Estimate,
    Foot,
    GameScores,
    Made,
    Report,
    SampleScores,
    SweepScores,
)
from tuning.report.scores import over_training

AGGREGATES = {
    "mean": "mean",
    "median": "median",
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
}
SHOWN_SAMPLES = 20
_NOTHING = "-"
_LONGEST_HEAD = 13  # of a column: "efficientzero"


def show_report(report: Report, console: Console) -> None:
    """Prints all tables; of published columns as many as fit, the most telling ones."""
    for block in _blocks(report, console):
        console.print(block)
        console.print()


def _blocks(report: Report, console: Console) -> Iterator[RenderableType]:
    for sweep in report.sweeps:
        yield Group(_heading(sweep), games_table(sweep, report, console))
        if sweep.foot.lines:
            machines = (f"{place}: {it}" for place, it in enumerate(sweep.foot.machines, 1))
            yield Group(foot_table(sweep.foot), *(Text(f"machine {it}", "dim") for it in machines))
        if sweep.best is not None:
            yield _best_checkpoints(sweep, sweep.best, report, console)
        if sweep.samples:
            more = f", the best {SHOWN_SAMPLES}" if len(sweep.samples) > SHOWN_SAMPLES else ""
            title = f"Samples of {sweep.name}: {len(sweep.samples)}{more}"
            yield _titled(title, samples_table(sweep.samples))
    if any(sweep.aggregates for sweep in report.sweeps):
        title = f"Normalised scores (0: random, 1: {report.reference_name}), 95 % intervals"
        yield _titled(title, aggregates_table(report, console))
    if report.comparisons:
        title = "Probability that a run of the first beats one of the second, 95 % intervals"
        yield _titled(title, comparisons_table(report.comparisons))
    if any(sweep.seconds for sweep in report.sweeps):
        yield _titled("Mean time of a finished run", times_table(report.sweeps))
    for sweep in report.sweeps:
        if sweep.notes:
            notes = [Text(f"- {note}") for note in sweep.notes]
            yield Group(Text(f"Notes on {sweep.name}", "bold yellow"), *notes)


def games_table(sweep: SweepScores, report: Report, console: Console) -> Table:
    """A line a game; each seed's score and published columns as far as there is room."""
    columns = telling_columns(report, sweep)
    fewest = min(1, len(columns))  # one published column tells more than each seed's score
    has_seeds = any(len(game.scores) > 1 for game in sweep.games)
    variants = [(count, True) for count in range(len(columns), fewest - 1, -1) if has_seeds]
    variants += [(count, False) for count in range(len(columns), -1, -1)]
    tables = [_games_table(sweep, report, columns[:count], seeds) for count, seeds in variants]
    return next((table for table in tables if _fits(table, console)), tables[-1])


def telling_columns(report: Report, sweep: SweepScores) -> list[str]:
    """Published columns: EfficientZero's own first, then those that reach most."""
    known = dict.fromkeys(column for game in sweep.games for column in game.published)
    means = {column: found["mean"].value for column, found in report.published.items()}

    def rank(column: str) -> tuple[bool, float]:
        return "efficientzero" != column.lower(), -means.get(column, float("-inf"))

    return sorted(known, key=rank)


def aggregates_table(report: Report, console: Console) -> Table:
    """A line a sweep, with intervals; below it published columns, which have means alone."""
    wide = _aggregates_table(report, between=" ")
    return wide if _fits(wide, console) else _aggregates_table(report, between="\n")


def foot_table(foot: Foot) -> Table:
    """What made the runs: those that were made alike in one line."""
    table = _table()
    table.add_column(Text("runs"), overflow="fold")
    _add_columns(table, "wall clock", "config", "commit", "machine", left=4)
    for made in foot.lines:
        cells = [made.config_hashes, made.commits, map(str, made.machines)]
        told = (", ".join(cell) or _NOTHING for cell in cells)
        _add_row(table, runs_in_words(made), _wall_clock(made), *told, style="dim")
    return table


def samples_table(samples: Sequence[SampleScores]) -> Table:
    """What a search tried, best first."""
    table = _table()
    _add_columns(table, "sample", "normalised", "finished")
    table.add_column(Text("settings"), overflow="fold")
    for place, one in enumerate(samples[:SHOWN_SAMPLES]):
        settings = ", ".join(f"{name}={_setting(value)}" for name, value in one.settings.items())
        finished = f"{one.num_finished} of {one.num_runs}"
        style = "bold" if place == 0 else ""
        _add_row(table, one.sample, _share(one.normalised), finished, settings, style=style)
    return table


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """How probably a run of one sweep beats a run of another."""
    table = _table()
    for name in ("first", "second"):
        table.add_column(Text(name), overflow="fold")
    _add_columns(table, "probability", "better on", left=0)
    for one in comparisons:
        better = sum(value > 0.5 for value in one.per_game.values())
        games = f"{better} of {len(one.per_game)}"
        _add_row(table, one.first, one.second, _estimate(one.probability), games)
    return table


def times_table(sweeps: Sequence[SweepScores]) -> Table:
    """Means of finished runs."""
    table = _table()
    table.add_column(Text("sweep"), overflow="fold")
    names = ("set-up", "training", "evaluation", "whole run", "whole / training")
    _add_columns(table, *names, left=0)
    for sweep in sweeps:
        parts = [
            sweep.seconds.get(f"{name}_seconds") for name in ("setup", "training", "evaluation")
        ]
        setup, run = parts[0], sweep.seconds.get("seconds")
        whole = None if run is None else run + (setup or 0.0)
        times = (_NOTHING if one is None else clock_time(one) for one in (*parts, whole))
        ratio = over_training(sweep.seconds)
        _add_row(table, sweep.name, *times, _NOTHING if ratio is None else f"{ratio:.2f}")
    return table


def _aggregates_table(report: Report, *, between: str) -> Table:
    """With so much between a value and its interval."""
    table = _table()
    table.add_column(Text(""), overflow="fold")
    names = (name.replace(" ", between) for name in AGGREGATES.values())
    _add_columns(table, *names, left=0)
    for sweep in report.sweeps:
        if sweep.aggregates:
            cells = _estimates(sweep.aggregates, between)
            _add_row(table, sweep.name, *cells, style="bold")
        if sweep.best is not None and sweep.best.aggregates:
            cells = _estimates(sweep.best.aggregates, between)
            _add_row(table, f"{sweep.name}, best checkpoint", *cells)
    if report.published:
        _add_row(table, Text("published:", "dim"))
    for column, estimates in report.published.items():
        _add_row(table, column, *_estimates(estimates, between))
    return table


def _best_checkpoints(
    sweep: SweepScores, best: BestScores, report: Report, console: Console
) -> RenderableType:
    """The second table, or why there is none."""
    if not best.games:
        return Text(best.title)
    return _titled(best.title, games_table(replace(sweep, games=best.games), report, console))


def _wall_clock(made: Made) -> str:
    if made.seconds is None:
        return _NOTHING
    return " to ".join(dict.fromkeys(map(clock_time, made.seconds)))


def _heading(sweep: SweepScores) -> Text:
    told = f"{sweep.path}: {sweep.env_steps} env steps, preset {sweep.preset}"
    if sweep.samples:
        told += f", best sample {sweep.best_sample}"
    return Text.assemble((sweep.name, "bold cyan"), f"  {told}\n{sweep.protocol}\n")


def _games_table(
    sweep: SweepScores, report: Report, columns: Sequence[str], has_seeds: bool
) -> Table:
    given = [column for game in sweep.games for column in game.published]
    left_out = len(dict.fromkeys(given)) - len(columns)
    caption = f"{left_out} more published columns are in report.html" if left_out else None
    table = _table(caption=caption)
    reference = report.reference_name
    short = reference if len(reference) <= _LONGEST_HEAD else "reference"
    _add_columns(table, "game", "random", short)
    _add_columns(table, *(_headline(column) for column in columns), left=0)
    own = ["seeds"] if has_seeds else []
    _add_columns(table, *own, "mean", "± std", "normalised", left=0)
    for game in sweep.games:
        seeds = [" ".join(map(_score, game.scores.values())) or _NOTHING] if has_seeds else []
        _add_row(
            table,
            game.game,
            _score(game.random),
            _score(game.reference),
            *(_score(game.published.get(column)) for column in columns),
            *seeds,
            Text(_score(game.mean), "bold"),
            _spread(game),
            _share(game.normalised),
        )
    return table


def _headline(name: str) -> str:
    """A column's name on short lines."""
    lines = [""]
    for word in name.replace("_", " ").split():
        if len(f"{lines[-1]} {word}") <= _LONGEST_HEAD:
            lines[-1] = f"{lines[-1]} {word}".strip()
        else:
            lines.append(word)
    return "\n".join(line for line in lines if line)


def _titled(title: str, table: Table) -> Group:
    return Group(Text(title, "bold"), table)


def _table(*, caption: str | None = None) -> Table:
    return Table(
        caption=None if caption is None else Text(caption, "dim"),
        caption_justify="left",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
    )


def _add_columns(table: Table, *names: str, left: int = 1) -> None:
    """The first `left` of them to the left, the others to the right."""
    for place, name in enumerate(names):
        table.add_column(
            Text(name), justify="left" if place < left else "right", no_wrap=True, vertical="bottom"
        )


def _add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Text, so that a name such as [x] is no markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)


def _fits(table: Table, console: Console) -> bool:
    wanted = Measurement.get(console, console.options.update(width=10_000), table)
    return wanted.maximum <= console.width


def _estimates(estimates: Mapping[str, Estimate], between: str) -> Iterator[str]:
    found = (estimates.get(name) for name in AGGREGATES)
    return (_NOTHING if one is None else _estimate(one, between) for one in found)


def _estimate(estimate: Estimate, between: str = " ") -> str:
    if estimate.low is None or estimate.high is None:
        return _share(estimate.value)
    return f"{estimate.value:.3f}{between}[{estimate.low:.2f}, {estimate.high:.2f}]"


def _score(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def _spread(game: GameScores) -> str:
    return _NOTHING if game.std is None else _score(game.std)


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""A report in a terminal: games, aggregates, samples, comparisons, times, notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rllib_ez.runs.status import clock_time
from tuning.report.model import Comparison, Estimate, GameScores, Report, SampleScores, SweepScores
from tuning.report.scores import over_training

AGGREGATES = {
    "mean": "mean",
    "median": "median",
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
}
SHOWN_SAMPLES = 20
_NOTHING = "-"


def show_report(report: Report, console: Console) -> None:
    """Prints all tables; of published columns as many as fit, the most telling ones."""
    for block in _blocks(report, console):
        console.print(block)
        console.print()


def _blocks(report: Report, console: Console) -> Iterator[RenderableType]:
    for sweep in report.sweeps:
        yield Group(_heading(sweep), games_table(sweep, report, console))
        if sweep.samples:
            yield samples_table(sweep.samples, sweep.name)
    if any(sweep.aggregates for sweep in report.sweeps):
        yield aggregates_table(report, console)
    if report.comparisons:
        yield comparisons_table(report.comparisons)
    if any(sweep.seconds for sweep in report.sweeps):
        yield times_table(report.sweeps)
    for sweep in report.sweeps:
        if sweep.notes:
            notes = (Padding(Text(f"- {note}"), (0, 0, 0, 2)) for note in sweep.notes)
            yield Group(Text(f"Notes on {sweep.name}", "bold yellow"), *notes)


def games_table(sweep: SweepScores, report: Report, console: Console) -> Table:
    """A line a game; each seed's score and published columns as far as there is room."""
    columns = telling_columns(report, sweep)
    variants = [(columns[:count], True) for count in range(len(columns), 0, -1)]
    variants += [(columns[:count], False) for count in range(len(columns), -1, -1)]
    tables = [_games_table(sweep, report, of, seeds) for of, seeds in variants]
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
    table = _table(f"Normalised scores (0 random, 1 {report.reference_name}), 95 % intervals")
    _add_columns(table, "", *AGGREGATES.values())
    for sweep in report.sweeps:
        if sweep.aggregates:
            _add_row(table, sweep.name, *_estimates(sweep.aggregates), style="bold")
    for column, estimates in report.published.items():
        _add_row(table, f"{column}, published", *_estimates(estimates))
    if not _fits(table, console):
        table.columns[0].no_wrap = False
        table.columns[0].overflow = "fold"
    return table


def samples_table(samples: Sequence[SampleScores], sweep: str) -> Table:
    """What a search tried, best first."""
    more = f", the best {SHOWN_SAMPLES} of {len(samples)}" if len(samples) > SHOWN_SAMPLES else ""
    table = _table(f"Samples of {sweep}{more}")
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
    table = _table("Probability that a run of the first beats one of the second")
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
    table = _table("Time of a finished run, h:mm:ss")
    table.add_column(Text("sweep"), overflow="fold")
    names = ("set-up", "training", "evaluation", "all but set-up", "all / training")
    _add_columns(table, *names, left=0)
    for sweep in sweeps:
        keys = ("setup_seconds", "training_seconds", "evaluation_seconds", "seconds")
        times = (clock_time(sweep.seconds[k]) if k in sweep.seconds else _NOTHING for k in keys)
        ratio = over_training(sweep.seconds)
        _add_row(table, sweep.name, *times, _NOTHING if ratio is None else f"{ratio:.2f}")
    return table


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
    table = _table(None, caption=caption)
    _add_columns(table, "game", "random", _headline(report.reference_name))
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
    lines: list[str] = []
    for word in name.replace("_", " ").split():
        if lines and len(lines[-1]) + len(word) < 12:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _table(title: str | None, *, caption: str | None = None) -> Table:
    return Table(
        title=None if title is None else Text(title, "bold"),
        caption=None if caption is None else Text(caption, "dim"),
        title_justify="left",
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


def _estimates(estimates: dict[str, Estimate]) -> Iterator[str]:
    return (_estimate(estimates[k]) if k in estimates else _NOTHING for k in AGGREGATES)


def _estimate(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return _share(estimate.value)
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


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

"""How a sweep is watched: a live table in a terminal, else a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rllib_ez.runs.status import clock_time, number
from tuning.watching import CUT, FAILED, FINISHED, RUNNING, WAITING, SweepStatus, TrialStatus

LINE_SECONDS = 30.0
DRAW_SECONDS = 0.5
BARS_FROM = 100  # columns of a terminal; in a narrower one numbers matter more
ORDER = (RUNNING, FAILED, FINISHED, CUT, WAITING)  # what matters most comes first
STYLES = {RUNNING: "cyan", FAILED: "bold red", FINISHED: "green", CUT: "yellow", WAITING: "dim"}


class LiveSweep:
    """A table that is drawn anew while trials run."""

    def __init__(self, console: Console, status: SweepStatus) -> None:
        self._console, self._status = console, status
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn_at = 0.0

    def __enter__(self) -> LiveSweep:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self) -> None:
        """Draws, unless it did a moment ago."""
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self._drawn_at = time.monotonic()
            width, height = self._console.size
            table = sweep_table(self._status, height - 5, has_bars=width >= BARS_FROM)
            self._live.update(table, refresh=True)

    def tell(self, trial: TrialStatus) -> None:
        """One line that stays, above the table."""
        self._live.console.print(trial_line(trial), soft_wrap=True)


class LineSweep:
    """A line when a trial ends, and every half minute one for all, for logs."""

    def __init__(self, console: Console, status: SweepStatus) -> None:
        self._console, self._status = console, status
        self._last = time.monotonic()

    def __enter__(self) -> LineSweep:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self) -> None:
        """Prints, unless something was printed a moment ago."""
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self._console.print(sweep_line(self._status), soft_wrap=True)

    def tell(self, trial: TrialStatus) -> None:
        """Prints what came of it."""
        self._last = time.monotonic()
        self._console.print(trial_line(trial), soft_wrap=True)


def make_sweep_view(console: Console, status: SweepStatus) -> LiveSweep | LineSweep:
    """The view that fits where stderr goes."""
    return LiveSweep(console, status) if console.is_terminal else LineSweep(console, status)


def sweep_table(status: SweepStatus, height: int, *, has_bars: bool = True) -> Group:
    """As many trials as fit, and one line for all.

    Args:
        status: of the sweep.
        height: lines there are for trials.
        has_bars: whether progress is drawn as well.
    """
    trials = sorted(status.trials.values(), key=lambda trial: ORDER.index(trial.state))
    shown = trials if len(trials) <= height else trials[: max(1, height - 1)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial")  # this one and the last give way to numbers
    if has_bars:
        table.add_column("")
    table.add_column("steps", no_wrap=True)
    for name in ("return", "evaluation", "normalised"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for trial in shown:
        first, bar, *others = trial_cells(trial)
        table.add_row(first, *([bar] if has_bars else []), *others)
    rest = [Text(f"and {len(trials) - len(shown)} more", style="dim")] if shown != trials else []
    return Group(table, *rest, sweep_line(status))


def trial_cells(trial: TrialStatus) -> list[Text | ProgressBar]:
    """One trial's row."""
    style = STYLES[trial.state]
    what = trial.activity or trial.state if trial.state == RUNNING else trial.state
    if trial.num_failures and trial.state != FINISHED:
        what += (
            f", failed {trial.num_failures} times" if trial.num_failures > 1 else ", failed once"
        )
    return [
        Text(trial.spec.name, style=style, no_wrap=True, overflow="ellipsis"),
        ProgressBar(trial.length, min(trial.progress, trial.length), width=16),
        Text(f"{trial.progress:,}/{trial.length:,}"),
        Text(number(trial.train_return)),
        Text(number(trial.evaluation_return)),
        Text("-" if trial.normalised is None else f"{trial.normalised:.3f}"),
        Text(what, style=style, no_wrap=True, overflow="ellipsis"),
    ]


def sweep_line(status: SweepStatus) -> Text:
    """All trials in one line."""
    counts = [f"{status.count(state)} {state}" for state in ORDER if status.count(state)]
    share = status.done / max(1, status.length)
    left = status.seconds_left
    eta = "?" if left is None else clock_time(left)
    stopping = "saving, to stop; " if status.is_stopping else ""
    total = len(status.trials)
    return Text(f"{stopping}{total} trials: {', '.join(counts)}; {share:.0%}, ETA {eta}")


def trial_line(trial: TrialStatus) -> Text:
    """What came of a trial."""
    if trial.state == FAILED:
        return Text(f"{trial.spec.name} failed: {trial.error}", style=STYLES[FAILED])
    value = trial.train_return if trial.evaluation_return is None else trial.evaluation_return
    normalised = "" if trial.normalised is None else f", normalised {trial.normalised:.3f}"
    return Text(
        f"{trial.spec.name} {trial.state}: return {number(value)}{normalised}, "
        f"{trial.progress:,} steps in {clock_time(trial.seconds)}"
    )

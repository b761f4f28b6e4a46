"""How a run is watched: a live table in a terminal, else a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from rllib_ez.runs.status import Status, View, number, size

LINE_SECONDS = 10.0


def status_table(status: Status) -> Table:
    """All of it in a few rows."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        status.title, ProgressBar(status.length, min(status.progress, status.length), width=50)
    )
    steps = f"{status.progress:,} of {status.length:,} {status.unit}, {status.counts}"
    table.add_row("steps", f"{steps}, ETA {status.eta} ({status.activity})")
    table.add_row("training return", number(status.train_return))
    table.add_row("last evaluation", status.evaluation)
    losses = "  ".join(f"{name} {number(value)}" for name, value in status.losses.items())
    table.add_row("losses", losses or "none yet")
    rates = f"{status.steps_per_second:.1f} steps/s, {status.updates_per_second:.1f} updates/s"
    table.add_row("speed", f"{rates}, replay {size(status.replay_bytes)}")
    return table


class LiveView:
    """A table that is drawn anew twice a second."""

    def __init__(self, console: Console, status: Status) -> None:
        self._status = status
        self._live = Live(
            console=console,
            get_renderable=lambda: status_table(status),
            refresh_per_second=2,
            transient=True,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, *, now: bool = False) -> None:
        """Draws at once if it must be seen."""
        if now:
            self._live.refresh()


class LineView:
    """A plain line every ten seconds, for logs."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status
        self._last = time.monotonic()

    def __enter__(self) -> LineView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, *, now: bool = False) -> None:
        """Prints, unless something was printed a moment ago."""
        if now or time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self._console.print(self._status.line(), soft_wrap=True, highlight=False)


def make_view(console: Console, status: Status) -> View:
    """The view that fits where stderr goes."""
    return LiveView(console, status) if console.is_terminal else LineView(console, status)

"""How a run is watched: a live table in a terminal, else a plain line now and then."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

LINE_SECONDS = 10.0
RATE_SECONDS = 30.0
RECENT_EPISODES = 10


@dataclass(slots=True)
class Status:
    """What there is to see."""

    title: str
    length: int  # `Plan.length`
    unit: str = "env steps"  # `Plan.unit`
    progress: int = 0
    env_steps: int = 0
    updates: int = 0
    replay_bytes: int = 0
    train_return: float | None = None
    evaluation: str = "none yet"
    losses: dict[str, float] = field(default_factory=dict)
    progress_per_second: float = 0.0
    steps_per_second: float = 0.0
    updates_per_second: float = 0.0
    activity: str = "training"

    @property
    def eta(self) -> str:
        """Time left at the present speed."""
        if self.progress_per_second <= 0:
            return "?"
        return clock_time((self.length - self.progress) / self.progress_per_second)

    @property
    def counts(self) -> str:
        """What the progress does not say."""
        counted = {"env steps": self.env_steps, "updates": self.updates}
        return ", ".join(f"{n:,} {name}" for name, n in counted.items() if name != self.unit)

    def line(self) -> str:
        """All of it in one line."""
        parts = [
            f"{self.progress:,}/{self.length:,} {self.unit}",
            self.counts,
            f"return {number(self.train_return)}",
            f"evaluation {self.evaluation}",
            f"loss {number(self.losses.get('total'))}",
            f"{self.steps_per_second:.1f} steps/s",
            f"{self.updates_per_second:.1f} updates/s",
            f"replay {size(self.replay_bytes)}",
            f"ETA {self.eta}",
        ]
        return ", ".join(parts) if self.activity == "training" else self.activity

    def table(self) -> Table:
        """All of it in a few rows."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column()
        table.add_row(
            self.title, ProgressBar(self.length, min(self.progress, self.length), width=50)
        )
        steps = f"{self.progress:,} of {self.length:,} {self.unit}, {self.counts}"
        table.add_row("steps", f"{steps}, ETA {self.eta} ({self.activity})")
        table.add_row("training return", number(self.train_return))
        table.add_row("last evaluation", self.evaluation)
        losses = "  ".join(f"{name} {number(value)}" for name, value in self.losses.items())
        table.add_row("losses", losses or "none yet")
        rates = f"{self.steps_per_second:.1f} steps/s, {self.updates_per_second:.1f} updates/s"
        table.add_row("speed", f"{rates}, replay {size(self.replay_bytes)}")
        return table


class Rates:
    """Counts per second over the last half minute of training."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, tuple[int, ...]]] = deque()  # training seconds, counts

    def add(self, seconds: float, *counts: int) -> tuple[float, ...]:
        """Takes in a point, returns the rate of each count."""
        self._points.append((seconds, counts))
        while len(self._points) > 2 and seconds - self._points[1][0] > RATE_SECONDS:
            self._points.popleft()
        before, first = self._points[0]
        if len(self._points) < 2:
            return tuple(0.0 for _ in counts)
        passed = max(1e-9, seconds - before)
        return tuple((now - then) / passed for now, then in zip(counts, first, strict=True))


class RecentReturn:
    """Mean return of the last episodes, ten of them or a round's, whichever is more."""

    def __init__(self) -> None:
        self._rounds: deque[tuple[int, float]] = deque()  # episodes that ended, their mean

    def add(self, num_episodes: int, mean: float | None) -> float | None:
        """Takes in a round, returns the mean; None before the first episode ends."""
        if num_episodes > 0 and mean is not None:
            self._rounds.append((num_episodes, mean))
        while self._episodes() - (self._rounds[0][0] if self._rounds else 0) >= RECENT_EPISODES:
            self._rounds.popleft()
        if not self._rounds:
            return None
        return sum(count * mean for count, mean in self._rounds) / self._episodes()

    def _episodes(self) -> int:
        return sum(count for count, _ in self._rounds)


class View(Protocol):
    """Shows a status while it changes."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, *, now: bool = False) -> None:
        """Takes notice that the status changed; `now`: this must be seen."""


class LiveView:
    """A table that is drawn anew twice a second."""

    def __init__(self, console: Console, status: Status) -> None:
        self._status = status
        self._live = Live(
            console=console, get_renderable=status.table, refresh_per_second=2, transient=True
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


def number(value: float | None) -> str:
    """Four digits, or a dash for nothing."""
    return "-" if value is None else f"{value:.4g}"


def size(num_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def clock_time(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(max(0.0, seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"

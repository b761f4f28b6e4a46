"""How a run stands, in numbers and in one line; a view of the command line draws it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

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

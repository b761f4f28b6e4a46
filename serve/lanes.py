"""What waits for the device: a lane of requests for each model; lanes take turns.

Axes: n observations of one request, A actions.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Q = TypeVar("Q")  # what one request asks
A = TypeVar("A")  # what it gets


@dataclass(frozen=True, slots=True)
class Answered(Generic[A]):
    """One request's part of a batch."""

    answer: A
    queue_seconds: float
    search_seconds: float
    batch_size: int  # observations


@dataclass(slots=True, eq=False)
class Lane(Generic[Q, A]):
    """What waits for one model. `search` answers several queries at once, in their order."""

    name: str
    search: Callable[[list[Q]], list[A]]
    waiting: deque[Job[Q, A]] = field(default_factory=deque)
    count: int = 0  # observations in `waiting`


@dataclass(slots=True, eq=False)
class Job(Generic[Q, A]):
    """One request."""

    lane: Lane[Q, A]
    query: Q
    count: int  # n
    future: asyncio.Future[Answered[A]]
    arrived: float = field(default_factory=time.perf_counter)
    is_waiting: bool = False  # in its lane


class Lanes:
    """All lanes, and how much waits in them."""

    def __init__(self) -> None:
        self.queued = 0  # observations
        self._turns: deque[Lane[Any, Any]] = deque()  # the next in turn first

    def __contains__(self, lane: object) -> bool:
        return lane in self._turns

    def add(self, lane: Lane[Any, Any]) -> None:
        """A lane comes last in turn."""
        self._turns.append(lane)

    def remove(self, lane: Lane[Any, Any]) -> None:
        """It takes no more turns; one that does not is fine."""
        if lane in self._turns:
            self._turns.remove(lane)

    def put(self, job: Job[Any, Any]) -> None:
        """A request waits at the end of its lane."""
        job.is_waiting = True
        job.lane.waiting.append(job)
        self._count(job, 1)

    def leave(self, job: Job[Any, Any]) -> None:
        """Its room is free at once: requests that nobody waits for must not keep out others."""
        if job.is_waiting:
            job.lane.waiting.remove(job)
            self._taken(job)

    def jobs(self) -> Iterator[Job[Any, Any]]:
        """All that waits."""
        return (job for lane in self._turns for job in lane.waiting)

    def oldest(self) -> float:
        """When the request that waits longest arrived; infinite if none does."""
        heads = [lane.waiting[0].arrived for lane in self._turns if lane.waiting]
        return min(heads, default=float("inf"))

    def next_batch(self, most: int) -> list[Job[Any, Any]]:
        """The oldest requests of the lane whose turn it is.

        Args:
            most: observations in it; no request may have more.
        """
        for _ in range(len(self._turns)):
            lane = self._turns[0]
            self._turns.rotate(-1)
            if jobs := self._cut(lane, most):
                return jobs
        if self.queued:
            raise AssertionError(f"{self.queued} observations wait in no lane")
        return []

    def _cut(self, lane: Lane[Q, A], room: int) -> list[Job[Q, A]]:
        jobs: list[Job[Q, A]] = []
        while lane.waiting and (lane.waiting[0].count <= room or lane.waiting[0].future.done()):
            job = lane.waiting.popleft()
            self._taken(job)
            if not job.future.done():  # else its client has gone, a moment ago
                jobs.append(job)
                room -= job.count
        return jobs

    def _taken(self, job: Job[Any, Any]) -> None:
        job.is_waiting = False
        self._count(job, -1)

    def _count(self, job: Job[Any, Any], sign: int) -> None:
        job.lane.count += sign * job.count
        self.queued += sign * job.count

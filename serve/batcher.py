"""One device, many models: as soon as the device is free, all that waits is searched at once.

Axes: n observations of one request, B of a batch, A actions.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from serve.errors import DeadlineExceeded, Internal, NotReady, Overloaded

Q = TypeVar("Q")  # what one request asks
A = TypeVar("A")  # what it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherConfig:
    """How much is searched together, and how much may wait."""

    max_batch: int = 64  # observations searched together, >= 1
    max_queue: int = 512  # observations that wait, of all models together, >= max_batch
    gather_fraction: float = 0.1  # of the last search's time: longest wait for a fuller batch
    max_gather_seconds: float = 0.02

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"max_batch must be >= 1, got {self.max_batch}")
        if self.max_queue < self.max_batch:
            raise ValueError(
                f"max_queue must be at least max_batch ({self.max_batch}), got {self.max_queue}"
            )


@dataclass(frozen=True, slots=True)
class Answered(Generic[A]):
    """One request's part of a batch."""

    answer: A
    queue_seconds: float
    search_seconds: float
    batch_size: int  # observations


@dataclass(slots=True)
class Job(Generic[Q, A]):
    """A request that waits."""

    query: Q
    count: int  # n
    future: asyncio.Future[Answered[A]]
    arrived: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class Lane(Generic[Q, A]):
    """What waits for one model. `search` answers several queries at once, in their order."""

    name: str
    search: Callable[[list[Q]], list[A]]
    waiting: deque[Job[Q, A]] = field(default_factory=deque)
    count: int = 0  # observations in `waiting`


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What is measured of one batch."""

    lane: str
    batch_size: int
    search_seconds: float
    cpu_seconds: float  # of the device's thread
    queue_seconds: list[float]  # of each request


class Batcher:
    """Cuts what waits into batches, model by model in turn; the device has a thread of its own.

    Nothing here is called from another thread than the event loop's, but for `Lane.search`.
    """

    def __init__(
        self,
        config: BatcherConfig,
        *,
        on_batch: Callable[[BatchRecord], None] = lambda record: None,
        on_error: Callable[[str, BaseException], None] = lambda lane, error: None,
    ) -> None:
        self.config = config
        self.queued = 0  # observations, over all lanes
        self._on_batch, self._on_error = on_batch, on_error
        self._lanes: deque[Lane[Any, Any]] = deque()  # the next in turn first
        self._changed = asyncio.Event()  # something waits
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._seconds_each = 0.0  # of the device per observation, smoothed
        self._search_seconds = 0.0  # of the last batch
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def add_lane(self, lane: Lane[Any, Any]) -> None:
        """Takes part from now on."""
        self._lanes.append(lane)

    def drop_lane(self, lane: Lane[Any, Any]) -> None:
        """Takes part no more; what waits in it is told so."""
        self._lanes.remove(lane)
        self.queued -= lane.count
        lane.count = 0
        while lane.waiting:
            job = lane.waiting.popleft()
            if not job.future.done():
                job.future.set_exception(NotReady(f"model {lane.name!r} was removed"))

    async def submit(
        self, lane: Lane[Q, A], query: Q, *, count: int, timeout: float
    ) -> Answered[A]:
        """Waits for one request's answer.

        Args:
            lane: the model's.
            query: handed to `lane.search`.
            count: n, observations in it, 1 .. max_batch.
            timeout: seconds until it is of no use any more.

        Raises:
            Overloaded: more would wait than may.
            DeadlineExceeded: the time has passed; what has not begun is not searched.
            NotReady: the service is going down.
        """
        if self._closing:
            raise NotReady("the service is going down", code="draining", retry_after=1)
        if self.queued + count > self.config.max_queue:
            raise Overloaded(
                f"at most {self.config.max_queue} observations may wait, got {self.queued} and "
                f"{count} more",
                retry_after=self.queued * self._seconds_each,
            )
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        job: Job[Q, A] = Job(query, count, asyncio.get_running_loop().create_future())
        lane.waiting.append(job)
        lane.count += count
        self.queued += count
        self._changed.set()
        try:
            return await asyncio.wait_for(job.future, timeout)
        except asyncio.TimeoutError as error:
            raise DeadlineExceeded(
                f"an answer must come within {timeout * 1000:.0f} ms (deadline_ms), and did not: "
                f"{self.queued} observations wait"
            ) from error

    def oldest_seconds(self) -> float:
        """How long the request that waits longest has waited; 0 if none does."""
        heads = [lane.waiting[0].arrived for lane in self._lanes if lane.waiting]
        return time.perf_counter() - min(heads) if heads else 0.0

    async def drain(self, seconds: float) -> None:
        """Takes nothing new, answers what waits, and stops."""
        self._closing = True
        end = time.perf_counter() + seconds
        while self.queued and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        for lane in list(self._lanes):
            self.drop_lane(lane)
        if self._task is not None:
            self._task.cancel()
        self._device.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self.queued:
                self._changed.clear()
                await self._changed.wait()
            lane = self._next_lane()
            jobs = self._cut(lane)
            if not jobs:
                continue
            begun = time.perf_counter()
            size = sum(job.count for job in jobs)
            queries = [job.query for job in jobs]
            done = await loop.run_in_executor(self._device, _timed, lane.search, queries)
            answers, error, wall, cpu = done
            if error is not None:
                self._on_error(lane.name, error)
                answers = await self._one_by_one(lane, jobs, error)
            self._search_seconds = wall
            self._seconds_each += 0.2 * (wall / size - self._seconds_each)
            self._hand_out(jobs, answers, begun=begun, wall=wall, size=size)
            waits = [begun - job.arrived for job in jobs]
            self._on_batch(BatchRecord(lane.name, size, wall, cpu, waits))
            await self._gather(size)

    def _next_lane(self) -> Lane[Any, Any]:
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            if lane.waiting:
                return lane
        raise AssertionError(f"{self.queued} observations wait in no lane")

    def _cut(self, lane: Lane[Q, A]) -> list[Job[Q, A]]:
        """The oldest requests that fit into a batch; those that nobody waits for are dropped."""
        jobs: list[Job[Q, A]] = []
        room = self.config.max_batch
        while lane.waiting and (lane.waiting[0].count <= room or lane.waiting[0].future.done()):
            job = lane.waiting.popleft()
            lane.count -= job.count
            self.queued -= job.count
            if not job.future.done():
                jobs.append(job)
                room -= job.count
        return jobs

    async def _one_by_one(
        self, lane: Lane[Q, A], jobs: list[Job[Q, A]], error: BaseException
    ) -> list[A | BaseException]:
        """After a batch has failed: one bad request must not spoil the others."""
        if len(jobs) == 1:
            return [error]
        answers: list[A | BaseException] = []
        for job in jobs:
            found, failed, _, _ = await asyncio.get_running_loop().run_in_executor(
                self._device, _timed, lane.search, [job.query]
            )
            answers.append(failed if failed is not None else found[0])
        return answers

    def _hand_out(
        self,
        jobs: list[Job[Any, A]],
        answers: list[A | BaseException],
        *,
        begun: float,
        wall: float,
        size: int,
    ) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            if job.future.done():  # timed out, or its client has gone
                continue
            if isinstance(answer, BaseException):
                failed = Internal("the search failed; the service's log says why")
                failed.__cause__ = answer
                job.future.set_exception(failed)
            else:
                job.future.set_result(Answered(answer, begun - job.arrived, wall, size))

    async def _gather(self, answered: int) -> None:
        """Waits a moment for those just answered to ask again.

        Without it, clients that wait for each answer settle into two halves that take turns.
        """
        wanted = min(answered + self.queued, self.config.max_batch)
        seconds = min(
            self.config.gather_fraction * self._search_seconds, self.config.max_gather_seconds
        )
        end = time.perf_counter() + seconds
        while 0 < self.queued < wanted and (left := end - time.perf_counter()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return


def _timed(
    search: Callable[[list[Q]], list[A]], queries: list[Q]
) -> tuple[list[Any], BaseException | None, float, float]:
    """On the device's thread: answers or the error, wall seconds, CPU seconds of this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    answers: list[Any] = []
    error: BaseException | None = None
    try:
        answers = search(queries)
    except Exception as raised:
        error = raised
    return answers, error, time.perf_counter() - wall, time.thread_time() - cpu

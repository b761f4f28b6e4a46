"""One device, many models: as soon as the device is free, all that waits is searched at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rllib_ez.errors import SettingError
from serve.errors import DeadlineExceeded, Internal, NotReady, Overloaded
from serve.lanes import A, Answered, Job, Lane, Lanes, Q
from serve.logs import log


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherConfig:
    """How much is searched together, and how much may wait."""

    max_batch: int = 64  # observations searched together, >= 1
    max_queue: int = 512  # observations that wait, of all models together, >= max_batch
    gather_fraction: float = 0.1  # of the last search's time: longest wait for a fuller batch
    max_gather_seconds: float = 0.02  # of that wait

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise SettingError(f"max_batch must be >= 1, got {self.max_batch}")
        if self.max_queue < self.max_batch:
            raise SettingError(
                f"max_queue must be at least max_batch ({self.max_batch}), got {self.max_queue}"
            )
        for name in ("gather_fraction", "max_gather_seconds"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} must be in [0, 1], got {getattr(self, name)}")


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
        self._on_batch, self._on_error = on_batch, on_error
        self._lanes = Lanes()
        self._changed = asyncio.Event()  # something waits
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._searched: list[Job[Any, Any]] = []  # on the device now
        self._begun = 0.0  # when the device was last given something
        self._seconds_each = 0.0  # of the device per observation, smoothed
        self._search_seconds = 0.0  # of the last batch
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def queued(self) -> int:
        """Observations that wait, over all lanes."""
        return self._lanes.queued

    def add_lane(self, lane: Lane[Any, Any]) -> None:
        """Takes part from now on."""
        self._lanes.add(lane)

    def drop_lane(self, lane: Lane[Any, Any]) -> None:
        """Takes part no more; what waits in it is told so. What is being searched is answered."""
        self._lanes.remove(lane)
        self._refuse(list(lane.waiting), lambda: gone(lane))

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
            NotReady: the service is going down, or the model has been removed.
            Internal: the search raised.
        """
        self._check(lane, count)
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run())
            self._task.add_done_callback(self._ended)
        job: Job[Q, A] = Job(lane, query, count, loop.create_future())
        self._lanes.put(job)
        self._changed.set()
        late = loop.call_later(timeout, self._expire, job, timeout)
        try:
            return await job.future
        finally:
            late.cancel()
            self._lanes.leave(job)

    def oldest_seconds(self) -> float:
        """How long the device has been at one search, or a request has waited for its turn.

        0 if there is nothing to do; infinite if nothing will ever be searched again.
        """
        if self._is_broken():
            return math.inf
        since = min(self._lanes.oldest(), self._begun if self._searched else math.inf)
        return max(0.0, time.perf_counter() - since)

    async def drain(self, seconds: float) -> None:
        """Takes nothing new, answers what waits, and stops."""
        self._closing = True
        end = time.perf_counter() + seconds
        while (self.queued or self._searched) and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()  # `_ended` tells those that still wait
        self._device.shutdown(wait=False, cancel_futures=True)

    def _is_broken(self) -> bool:
        return self._task is not None and self._task.done() and not self._closing

    def _check(self, lane: Lane[Any, Any], count: int) -> None:
        """Raises where a request cannot be taken."""
        if self._closing:
            raise going_down()
        if self._is_broken():
            raise broken()
        if lane not in self._lanes:
            raise gone(lane)
        if not 1 <= count <= self.config.max_batch:
            raise ValueError(f"count must be 1 .. {self.config.max_batch}, got {count}")
        if self.queued + count > self.config.max_queue:
            raise Overloaded(
                f"at most {self.config.max_queue} observations may wait, got {self.queued} and "
                f"{count} more",
                retry_after=self.queued * self._seconds_each,
            )

    def _expire(self, job: Job[Any, Any], timeout: float) -> None:
        if not job.future.done():
            late = DeadlineExceeded(
                f"an answer must come within {timeout * 1000:.0f} ms (deadline_ms), and did not: "
                f"{self.queued} observations wait"
            )
            job.future.set_exception(late)

    def _refuse(self, jobs: list[Job[Any, Any]], why: Callable[[], NotReady]) -> None:
        for job in jobs:
            self._lanes.leave(job)
            if not job.future.done():
                job.future.set_exception(why())

    async def _run(self) -> None:
        while True:
            while not self.queued:
                self._changed.clear()
                await self._changed.wait()
            jobs = self._searched = self._lanes.next_batch(self.config.max_batch)
            if jobs:
                await self._answer(jobs[0].lane, jobs)
                self._searched = []
                await self._gather(jobs[0].lane, sum(job.count for job in jobs))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """After `drain`, or because something here is wrong: nobody may wait for ever."""
        why = going_down if self._closing else broken
        self._refuse([*self._searched, *self._lanes.jobs()], why)
        if not task.cancelled():
            log.error("batcher_ended", exc_info=task.exception())

    async def _answer(self, lane: Lane[Q, A], jobs: list[Job[Q, A]]) -> None:
        """Searches a batch and hands out what is found."""
        begun, size = time.perf_counter(), sum(job.count for job in jobs)
        answers, wall, cpu = await self._search(lane, jobs)
        each = wall / size
        self._search_seconds = wall
        self._seconds_each += (0.2 if self._seconds_each else 1.0) * (each - self._seconds_each)
        for job, answer in zip(jobs, answers, strict=True):
            if job.future.done():  # timed out, or its client has gone
                continue
            if isinstance(answer, BaseException):
                failed = Internal("the search failed; the service's log says why")
                failed.__cause__ = answer
                job.future.set_exception(failed)
            else:
                job.future.set_result(Answered(answer, begun - job.arrived, wall, size))
        waits = [begun - job.arrived for job in jobs]
        told(self._on_batch, BatchRecord(lane.name, size, wall, cpu, waits))

    async def _search(
        self, lane: Lane[Q, A], jobs: list[Job[Q, A]]
    ) -> tuple[list[Any], float, float]:
        """Answers or errors, one for each job; wall and CPU seconds."""
        answers, error, wall, cpu = await self._on_device(lane, jobs)
        if error is None:
            return answers, wall, cpu
        told(self._on_error, lane.name, error)
        if len(jobs) == 1:
            return [error], wall, cpu
        answers = []
        for job in jobs:  # one bad request must not spoil the others
            if job.future.done():
                answers.append(error)
                continue
            found, failed, more_wall, more_cpu = await self._on_device(lane, [job])
            answers.append(found[0] if failed is None else failed)
            wall, cpu = wall + more_wall, cpu + more_cpu
        return answers, wall, cpu

    async def _on_device(
        self, lane: Lane[Q, A], jobs: list[Job[Q, A]]
    ) -> tuple[list[Any], BaseException | None, float, float]:
        self._begun = time.perf_counter()
        queries = [job.query for job in jobs]
        return await asyncio.get_running_loop().run_in_executor(
            self._device, _timed, lane.search, queries
        )

    async def _gather(self, lane: Lane[Any, Any], answered: int) -> None:
        """Waits a moment for those just answered to ask again.

        Without it, clients that wait for each answer settle into two halves that take turns, and
        a whole batch falls apart: who asks first again would be searched alone.
        Where other lanes wait they come first, and this one fills up meanwhile.
        """
        wanted = min(answered + lane.count, self.config.max_batch)
        seconds = min(
            self.config.gather_fraction * self._search_seconds, self.config.max_gather_seconds
        )
        end = time.perf_counter() + seconds
        while lane.count == self.queued < wanted and (left := end - time.perf_counter()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return


def going_down() -> NotReady:
    """What is told to those who come too late."""
    return NotReady("the service is going down", code="draining", retry_after=1)


def broken() -> NotReady:
    """What is told until `oldest_seconds` has been noticed."""
    return NotReady("this replica has failed and is to be started anew", retry_after=1)


def gone(lane: Lane[Any, Any]) -> NotReady:
    """What is told to those who wait for a model that is served no more."""
    return NotReady(f"model {lane.name!r} was removed", retry_after=1)


def told(callback: Callable[..., None], *args: Any) -> None:
    """Calls back; what counts and logs must not stop what answers."""
    try:
        callback(*args)
    except Exception as error:
        log.error("callback_failed", exc_info=error)


def _timed(
    search: Callable[[list[Q]], list[A]], queries: list[Q]
) -> tuple[list[Any], BaseException | None, float, float]:
    """On the device's thread: answers or the error, wall seconds, CPU seconds of this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    answers: list[Any] = []
    error: BaseException | None = None
    try:
        answers = search(queries)
        if len(answers) != len(queries):
            raise RuntimeError(f"search must answer {len(queries)} queries, got {len(answers)}")
    except BaseException as raised:  # nobody else looks at this thread
        error = raised
    return answers, error, time.perf_counter() - wall, time.thread_time() - cpu

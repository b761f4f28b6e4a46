"""A batcher with a device that a test opens search by search."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from serve.batcher import Batcher, BatcherConfig, BatchRecord
from serve.errors import ServiceError
from serve.lanes import Answered, Lane


class Device:
    """Plays the device: answers a number with its double, and searches only when it is let."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[tuple[str, list[int]]] = []  # as they began
        self.begun = threading.Semaphore(0)  # one for each search that has begun
        self.gate = threading.Semaphore(10**6 if is_open else 0)  # one for each that may end

    def lane(self, name: str = "lane") -> Lane[int, int]:
        def search(queries: list[int]) -> list[int]:
            self.batches.append((name, list(queries)))
            self.begun.release()
            assert self.gate.acquire(timeout=5)
            bad = [query for query in queries if query < 0]
            if bad:
                raise FloatingPointError(bad)
            return [2 * query for query in queries]

        return Lane(name, search)

    def let(self, searches: int = 1) -> None:
        self.gate.release(searches)

    async def has_begun(self) -> None:
        """Waits until one search more has begun."""
        await asyncio.to_thread(self.begun.acquire, timeout=5)


class Bench:
    """A batcher with one lane, and what tests do with both."""

    def __init__(self, device: Device | None = None, **config: Any) -> None:
        self.device = device or Device(is_open=False)
        self.records: list[BatchRecord] = []
        self.errors: list[BaseException] = []
        self.batcher = Batcher(
            BatcherConfig(**{"gather_fraction": 0.0, **config}),
            on_batch=self.records.append,
            on_error=lambda lane, error: self.errors.append(error),
        )
        self.lane = self.add("lane")

    def add(self, name: str) -> Lane[int, int]:
        lane = self.device.lane(name)
        self.batcher.add_lane(lane)
        return lane

    async def ask(
        self, *queries: int, lane: Lane[int, int] | None = None, **options: Any
    ) -> list[asyncio.Task[Answered[int]]]:
        """Requests that wait from now on, one for each number."""
        chosen = {"count": 1, "timeout": 20.0, **options}
        tasks = [
            asyncio.create_task(self.batcher.submit(lane or self.lane, query, **chosen))
            for query in queries
        ]
        await asyncio.sleep(0)
        return tasks

    async def busy(self, query: int = 0) -> asyncio.Task[Answered[int]]:
        """The device is at a search from now on."""
        [task] = await self.ask(query)
        await self.device.has_begun()
        return task


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


async def answers(tasks: list[asyncio.Task[Answered[int]]]) -> list[int]:
    return [answered.answer for answered in await asyncio.gather(*tasks)]


async def error_of(waiting: Awaitable[Any]) -> Exception:
    with pytest.raises(ServiceError) as raised:
        await waiting
    return raised.value

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from serve.batcher import Batcher, BatcherConfig
from serve.errors import Internal, NotReady
from serve.lanes import Lane
from tests.serve.bench import Bench, Device, answers, error_of, run


def test_one_bad_request_does_not_spoil_the_others():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        tasks = await bench.ask(1, -2, 3)
        bench.device.let(9)
        assert await answers([first, tasks[0], tasks[2]]) == [0, 2, 6]
        error = await error_of(tasks[1])
        assert isinstance(error, Internal)
        assert "-2" not in str(error)
        assert isinstance(error.__cause__, FloatingPointError)
        assert [type(raised) for raised in bench.errors] == [FloatingPointError]

    run(scenario)


def test_a_bad_request_alone_is_searched_once():
    async def scenario() -> None:
        bench = Bench(Device())
        [task] = await bench.ask(-1)
        assert isinstance(await error_of(task), Internal)
        assert bench.device.batches == [("lane", [-1])]

    run(scenario)


@pytest.mark.parametrize("found", [[], [1, 2, 3], None])
def test_a_search_with_the_wrong_number_of_answers_fails_its_requests_only(found: Any):
    async def scenario() -> None:
        bench = Bench(Device())
        lane: Lane[int, int] = Lane("wrong", lambda queries: found)
        bench.batcher.add_lane(lane)
        for task in await bench.ask(1, 2, lane=lane):
            assert isinstance(await error_of(task), Internal)
        assert await answers(await bench.ask(3)) == [6]
        assert bench.batcher.oldest_seconds() < 1

    run(scenario)


def test_a_search_that_exits_fails_its_request_only():
    async def scenario() -> None:
        bench = Bench(Device())

        def leaves(queries: list[int]) -> list[int]:
            raise SystemExit(1)

        lane = Lane("leaves", leaves)
        bench.batcher.add_lane(lane)
        assert isinstance(await error_of((await bench.ask(1, lane=lane))[0]), Internal)
        assert await answers(await bench.ask(3)) == [6]

    run(scenario)


def test_callbacks_that_raise_stop_nothing(caplog: pytest.LogCaptureFixture):
    def raises(*args: Any) -> None:
        raise KeyError("metrics")

    async def scenario() -> None:
        bench = Bench(Device())
        bench.batcher = Batcher(BatcherConfig(), on_batch=raises, on_error=raises)
        bench.batcher.add_lane(bench.lane)
        assert isinstance(await error_of((await bench.ask(-1))[0]), Internal)
        assert await answers(await bench.ask(3)) == [6]

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert "callback_failed" in caplog.text


def test_where_the_task_dies_nobody_hangs_and_it_is_noticed(caplog: pytest.LogCaptureFixture):
    async def scenario() -> None:
        bench = Bench(gather_fraction=0.1)
        first = await bench.busy()
        waiting = await bench.ask(1, 2)
        bench.batcher._gather = None  # type: ignore[assignment,method-assign]  # calling it raises
        bench.device.let()
        assert (await first).answer == 0
        for task in [*waiting, *(await bench.ask(3))]:
            assert isinstance(await error_of(task), NotReady)
        assert bench.batcher.oldest_seconds() == float("inf")

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert "batcher_ended" in caplog.text


def test_where_the_task_is_cancelled_what_is_searched_does_not_hang():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        assert bench.batcher._task is not None
        bench.batcher._task.cancel()
        assert isinstance(await error_of(first), NotReady)
        assert bench.batcher.oldest_seconds() == float("inf")
        bench.device.let()

    run(scenario)


def test_draining_answers_what_waits_and_refuses_what_comes():
    async def scenario() -> None:
        bench = Bench(max_batch=2)
        tasks = [await bench.busy(), *(await bench.ask(1, 2, 3))]
        drained = asyncio.create_task(bench.batcher.drain(20))
        await asyncio.sleep(0)
        [refused] = await bench.ask(4)
        assert (await error_of(refused)).code == "draining"
        bench.device.let(9)
        assert await answers(tasks) == [0, 2, 4, 6]
        await drained
        assert bench.batcher.oldest_seconds() == 0

    run(scenario)


def test_draining_waits_for_the_last_batch_on_the_device():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        drained = asyncio.create_task(bench.batcher.drain(20))
        await asyncio.sleep(0.05)
        assert not drained.done()
        bench.device.let()
        assert await answers([first]) == [0]
        await drained

    run(scenario)


def test_draining_ends_in_time_and_tells_those_without_an_answer():
    async def scenario() -> None:
        bench = Bench()
        tasks = [await bench.busy(), *(await bench.ask(1))]
        begun = time.perf_counter()
        await bench.batcher.drain(0.1)
        assert time.perf_counter() - begun < 1
        for task in tasks:
            assert (await error_of(task)).code == "draining"
        bench.device.let(9)

    run(scenario)


def test_how_long_the_device_hangs_is_told_though_nothing_waits():
    async def scenario() -> None:
        bench = Bench()
        assert bench.batcher.oldest_seconds() == 0
        first = await bench.busy()
        await asyncio.sleep(0.1)
        assert 0.1 <= bench.batcher.oldest_seconds() < 1
        bench.device.let()
        await first
        await asyncio.sleep(0.01)
        assert bench.batcher.oldest_seconds() == 0

    run(scenario)

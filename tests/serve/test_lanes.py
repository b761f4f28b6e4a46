from __future__ import annotations

import asyncio

from serve.errors import DeadlineExceeded, NotReady
from tests.serve.bench import Bench, Device, answers, error_of, run


def test_lanes_take_turns():
    async def scenario() -> None:
        bench = Bench(max_batch=2)
        other = bench.add("other")
        tasks = [await bench.busy(), *(await bench.ask(1, 2, 3, 4, 5, 6))]
        tasks += await bench.ask(7, 8, 9, lane=other)
        bench.device.let(9)
        await answers(tasks)
        names = [name for name, _ in bench.device.batches]
        assert names == ["lane", "other", "lane", "other", "lane", "lane"]

    run(scenario)


def test_a_lane_that_is_always_full_does_not_starve_another():
    async def scenario() -> None:
        bench = Bench(Device(), max_batch=2)
        other = bench.add("other")
        stop = False

        async def client() -> None:
            while not stop:
                await bench.batcher.submit(bench.lane, 1, count=1, timeout=20)

        clients = [asyncio.create_task(client()) for _ in range(8)]
        for _ in range(20):
            begun = len(bench.device.batches)
            await bench.batcher.submit(other, 5, count=1, timeout=20)
            assert len(bench.device.batches) - begun <= 3
        stop = True
        await asyncio.gather(*clients)

    run(scenario)


def test_an_expired_request_frees_its_room_at_once():
    async def scenario() -> None:
        bench = Bench(max_batch=2, max_queue=4)
        first = await bench.busy()
        late = await bench.ask(1, 2, count=2, timeout=0.02)
        assert bench.batcher.queued == 4
        for task in late:
            assert isinstance(await error_of(task), DeadlineExceeded)
        assert bench.batcher.queued == 0
        live = await bench.ask(3, 4, count=2)
        bench.device.let(9)
        assert await answers([first, *live]) == [0, 6, 8]

    run(scenario)


def test_a_cancelled_request_frees_its_room_and_is_not_searched():
    async def scenario() -> None:
        bench = Bench(max_batch=2, max_queue=4)
        first = await bench.busy()
        [gone, stays] = await bench.ask(1, 2, count=2)
        gone.cancel()
        await asyncio.wait([gone])
        assert bench.batcher.queued == 2
        bench.device.let(9)
        assert await answers([first, stays]) == [0, 4]
        assert [queries for _, queries in bench.device.batches] == [[0], [2]]

    run(scenario)


def test_a_request_cancelled_in_the_moment_of_the_cut_is_not_searched():
    async def scenario() -> None:
        bench = Bench(max_batch=2)
        tasks = await bench.ask(1, 2, 3)
        tasks[0].cancel()  # its own coroutine has not noticed when the batch is cut
        bench.device.let(9)
        assert await answers(tasks[1:]) == [4, 6]
        assert [queries for _, queries in bench.device.batches] == [[2, 3]]
        assert bench.batcher.queued == 0

    run(scenario)


def test_a_lane_whose_requests_are_all_cancelled_is_passed_over():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        gone = await bench.ask(1, 2)
        after = await bench.ask(3, lane=bench.add("other"))
        for task in gone:
            task.cancel()
        bench.device.let(9)
        assert await answers([first, *after]) == [0, 6]
        assert [name for name, _ in bench.device.batches] == ["lane", "other"]
        assert await answers(await bench.ask(4)) == [8]

    run(scenario)


def test_dropping_a_lane_answers_the_search_and_refuses_what_waits():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        [waiting] = await bench.ask(1)
        bench.batcher.drop_lane(bench.lane)
        assert isinstance(await error_of(waiting), NotReady)
        assert bench.batcher.queued == 0
        bench.device.let(9)
        assert await answers([first]) == [0]
        bench.batcher.drop_lane(bench.lane)  # again: nothing happens

    run(scenario)


def test_a_dropped_lane_takes_nothing_and_another_of_its_name_does():
    async def scenario() -> None:
        bench = Bench(Device())
        bench.batcher.drop_lane(bench.lane)
        assert isinstance(await error_of((await bench.ask(1))[0]), NotReady)
        assert await answers(await bench.ask(2, lane=bench.add("lane"))) == [4]

    run(scenario)

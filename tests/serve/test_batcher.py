from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from rllib_ez.errors import SettingError
from serve.batcher import BatcherConfig
from serve.errors import DeadlineExceeded, Overloaded
from tests.serve.bench import Bench, Device, answers, error_of, run


def test_all_that_waits_is_searched_as_soon_as_the_device_is_free():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        more = await bench.ask(1, 2, 3)
        bench.device.let(2)
        assert await answers([first, *more]) == [0, 2, 4, 6]
        assert [queries for _, queries in bench.device.batches] == [[0], [1, 2, 3]]

    run(scenario)


def test_no_batch_is_larger_than_allowed():
    async def scenario() -> None:
        bench = Bench(max_batch=4, max_queue=64)
        tasks = [await bench.busy(), *(await bench.ask(1, 2, 3, count=3)), *(await bench.ask(4))]
        bench.device.let(9)
        assert await answers(tasks) == [0, 2, 4, 6, 8]
        assert [record.batch_size for record in bench.records] == [1, 3, 3, 4]

    run(scenario)


def test_an_answer_tells_its_batch():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        more = await bench.ask(1, 2, count=2)
        await asyncio.sleep(0.05)
        bench.device.let(2)
        await first
        for answered in await asyncio.gather(*more):
            assert answered.batch_size == 4
            assert answered.queue_seconds >= 0.04
            assert 0 < answered.search_seconds < 20

    run(scenario)


def test_random_requests_get_the_answers_of_a_slow_twin():
    async def scenario() -> None:
        rng = random.Random(5)
        bench = Bench(Device(), max_batch=7, max_queue=10_000, gather_fraction=0.5)
        lanes = [bench.lane, bench.add("a"), bench.add("b")]

        async def client(number: int) -> None:
            for i in range(40):
                query = 1000 * number + i
                lane, count = rng.choice(lanes), rng.randint(1, 7)
                answered = await bench.batcher.submit(lane, query, count=count, timeout=20)
                assert answered.answer == query + query
                await asyncio.sleep(rng.choice([0, 0, 0.001]))

        await asyncio.gather(*(client(number) for number in range(25)))
        searched = sorted(query for _, queries in bench.device.batches for query in queries)
        assert searched == [1000 * number + i for number in range(25) for i in range(40)]
        assert max(record.batch_size for record in bench.records) <= 7
        assert bench.batcher.queued == 0

    run(scenario)


def test_a_deadline_passes_in_the_queue():
    async def scenario() -> None:
        bench = Bench()
        first = await bench.busy()
        [late] = await bench.ask(1, timeout=0.02)
        error = await error_of(late)
        assert isinstance(error, DeadlineExceeded)
        assert "within 20 ms" in str(error)
        bench.device.let(2)
        assert await answers([first, *(await bench.ask(2))]) == [0, 4]
        assert [queries for _, queries in bench.device.batches] == [[0], [2]]

    run(scenario)


def test_a_deadline_passes_during_the_search():
    async def scenario() -> None:
        bench = Bench()
        [late, patient] = [*(await bench.ask(1, timeout=0.05)), *(await bench.ask(2))]
        assert isinstance(await error_of(late), DeadlineExceeded)
        bench.device.let(9)
        assert await answers([patient]) == [4]

    run(scenario)


def test_a_full_queue_refuses_and_tells_when_to_come_back():
    async def scenario() -> None:
        bench = Bench(max_batch=2, max_queue=4)
        first = await bench.busy()
        await asyncio.sleep(0.2)
        bench.device.let()
        await first  # one observation took 0.2 s
        waiting = [await bench.busy(), *(await bench.ask(1, 2, count=2))]
        error = await error_of(bench.batcher.submit(bench.lane, 3, count=1, timeout=1))
        assert isinstance(error, Overloaded)
        assert error.retry_after == pytest.approx(4 * 0.2, rel=0.5)
        bench.device.let(9)
        assert await answers(waiting) == [0, 2, 4]

    run(scenario)


@pytest.mark.parametrize("count", [0, 5])
def test_a_request_that_fits_no_batch_is_refused(count: int):
    async def scenario() -> None:
        bench = Bench(max_batch=4)
        with pytest.raises(ValueError, match=f"count must be 1 .. 4, got {count}"):
            await bench.batcher.submit(bench.lane, 1, count=count, timeout=1)

    run(scenario)


def test_two_halves_that_take_turns_become_whole_batches():
    async def scenario() -> None:
        bench = Bench(gather_fraction=1.0, max_gather_seconds=1.0)
        half = [await bench.busy(1)]
        other = await bench.ask(2)
        for _ in range(2):  # each searched by itself, without the other half
            await asyncio.sleep(0.2)
            bench.device.let()
            await answers(half)
            half, other = other, await bench.ask(1)  # asks again at once
        bench.device.let(9)
        await answers([*half, *other])
        assert [sorted(queries) for _, queries in bench.device.batches] == [[1], [1, 2], [1]]

    run(scenario)


def test_a_whole_batch_stays_whole_though_its_clients_do_not_come_back_at_once():
    async def scenario() -> None:
        bench = Bench(gather_fraction=1.0, max_gather_seconds=1.0)
        batch = await bench.ask(1, 2, 3)
        await asyncio.sleep(0.3)
        bench.device.let(9)
        await answers(batch)
        again = await bench.ask(1)
        await asyncio.sleep(0.05)
        await answers([*again, *(await bench.ask(2, 3))])
        assert [queries for _, queries in bench.device.batches] == [[1, 2, 3], [1, 2, 3]]

    run(scenario)


async def gathered(bench: Bench, *, search_seconds: float) -> float:
    """Seconds between two searches, where one waits and the one just answered stays away."""
    first, [second] = await bench.busy(), await bench.ask(1)
    await asyncio.sleep(search_seconds)
    bench.device.let(2)
    await first
    await second
    return bench.records[1].queue_seconds[0] - bench.records[0].search_seconds


def test_gathering_lasts_a_fraction_of_the_search():
    async def scenario() -> None:
        bench = Bench(gather_fraction=0.5, max_gather_seconds=1.0)
        assert 0.27 < await gathered(bench, search_seconds=0.6) < 0.54

    run(scenario)


def test_gathering_is_limited():
    async def scenario() -> None:
        bench = Bench(gather_fraction=1.0, max_gather_seconds=0.05)
        assert 0.04 < await gathered(bench, search_seconds=0.6) < 0.3

    run(scenario)


def test_one_client_alone_is_never_kept_waiting():
    async def scenario() -> None:
        bench = Bench(gather_fraction=1.0, max_gather_seconds=1.0)
        first = await bench.busy()
        await asyncio.sleep(0.6)
        bench.device.let(2)
        await first
        begun = time.perf_counter()
        await answers(await bench.ask(1))
        assert time.perf_counter() - begun < 0.3

    run(scenario)


def test_another_models_requests_do_not_wait_for_those_just_answered():
    async def scenario() -> None:
        bench = Bench(gather_fraction=1.0, max_gather_seconds=1.0)
        [first] = await bench.ask(0, count=4)
        await bench.device.has_begun()
        [second] = await bench.ask(1, lane=bench.add("other"))
        await asyncio.sleep(0.6)
        bench.device.let(2)
        await first
        begun = time.perf_counter()
        await second
        assert time.perf_counter() - begun < 0.3

    run(scenario)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_batch": 0}, "max_batch must be >= 1, got 0"),
        ({"max_batch": 8, "max_queue": 7}, r"at least max_batch \(8\), got 7"),
        ({"gather_fraction": -0.1}, r"gather_fraction must be in \[0, 1\], got -0.1"),
        ({"max_gather_seconds": 2.0}, r"max_gather_seconds must be in \[0, 1\], got 2.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(given: dict[str, Any], told: str):
    with pytest.raises(SettingError, match=told):
        BatcherConfig(**given)

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rllib_ez.errors import CheckpointError
from serve.errors import Conflict, NotFound, NotReady
from serve.roster import RETRY_SECONDS
from tests.serve.agents import PIXEL, VECTOR
from tests.serve.bench import error_of, run
from tests.serve.replica import Answer, begun, c, replica


def test_a_configured_model_answers(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            assert await here.ask() == (1, c(1))
            assert here.roster.is_ready
            assert here.reloads == [("m", "loaded")]

    run(scenario)


def test_the_first_model_is_the_default(paths: list[str]):
    async def scenario() -> None:
        async with replica({"b": paths[0], "a": paths[1]}) as here:
            assert here.roster.seat(None).name == "b"
            await here.roster.configure({n: {"checkpoint": paths[0]} for n in ("c", "b")})
            assert list(here.roster.seats) == ["c", "b"]
            with pytest.raises(NotFound, match=r"must be one of \['c', 'b'\], got 'a'"):
                here.roster.model("a")

    run(scenario)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CheckpointError("checkpoint must be whole"), "checkpoint must be whole"),
        (RuntimeError("a secret path"), "see the service's log"),
    ],
)
def test_a_load_that_fails_leaves_the_present_model_answering(
    paths: list[str], error: Exception, told: str
):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.broken[c(2)] = error
            await here.roster.change("place", "m", paths[1])
            seat = here.roster.seat("m")
            assert (await here.ask(), seat.state) == ((1, c(1)), "ready")
            assert seat.failed is not None
            assert seat.failed[1] == told
            assert here.reloads == [("m", "loaded"), ("m", "failed")]

    run(scenario)


def test_requests_during_a_slow_load_are_answered_by_the_old_version(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.gate.clear()
            change = asyncio.create_task(here.roster.change("place", "m", paths[1]))
            await begun(here.loader, 2)
            assert [await here.ask() for _ in range(5)] == [(1, c(1))] * 5
            assert not change.done()
            here.loader.gate.set()
            await change
            assert await here.ask() == (2, c(2))

    run(scenario)


def test_no_request_fails_while_versions_change(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            found: list[Answer] = []
            stop = False

            async def client() -> None:
                while not stop:
                    found.append(await here.ask())

            clients = [asyncio.create_task(client()) for _ in range(8)]
            for path in paths[1:]:
                await here.roster.change("place", "m", path)
                await asyncio.sleep(0.02)
            stop = True
            await asyncio.gather(*clients)
            assert set(found) == {(i, c(i)) for i in (1, 2, 3, 4)}
            assert found == sorted(found)

    run(scenario)


def test_a_batch_under_way_is_answered_by_whom_it_began_with(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.search_gate.clear()
            under_way = here.waiting()
            await asyncio.sleep(0.05)
            later = here.waiting()
            await here.roster.change("place", "m", paths[1])
            here.loader.search_gate.set()
            assert (await under_way, await later) == ((1, c(1)), (2, c(2)))

    run(scenario)


def test_a_rollback_needs_no_load(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            await here.roster.change("place", "m", paths[1])
            here.loader.gate.clear()
            await here.roster.change("roll_back", "m")
            assert await here.ask() == (1, c(1))
            assert here.loader.loaded == [c(1), c(2)]

    run(scenario)


def test_each_model_keeps_its_own_spare(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0], "busy": paths[0]}) as here:
            await here.roster.change("place", "m", paths[1])
            for path in paths[1:]:
                await here.roster.change("place", "busy", path)
            here.loader.loaded.clear()
            await here.roster.change("roll_back", "m")
            assert here.loader.loaded == []

    run(scenario)


def test_a_rollback_from_what_could_not_be_loaded_needs_no_load(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.broken[c(2)] = CheckpointError("torn")
            await here.roster.change("place", "m", paths[1])
            await here.roster.change("roll_back", "m")
            assert here.roster.seat("m").failed is None
            assert here.loader.loaded == [c(1), c(2)]

    run(scenario)


def test_another_space_is_refused_and_changes_nothing(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.cards[c(2)] = PIXEL
            error = await error_of(here.roster.prepare("m", paths[1]))
            assert isinstance(error, Conflict)
            assert error.code == "model_changed"
            await here.roster.change("place", "m", paths[1])  # by another replica, or a run
            assert await here.ask() == (1, c(1))
            failed = here.roster.seat("m").failed
            assert failed is not None
            assert "serve it under another name" in failed[1]

    run(scenario)


def test_another_number_of_actions_is_another_space(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            model = replace(VECTOR.model, num_actions=3)
            here.loader.cards[c(2)] = replace(VECTOR, model=model)
            assert isinstance(await error_of(here.roster.prepare("m", paths[1])), Conflict)

    run(scenario)


def test_removing_a_model_answers_everybody(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0], "other": paths[0]}) as here:
            here.loader.search_gate.clear()
            under_way = here.waiting()
            await asyncio.sleep(0.05)
            waiting = here.waiting()
            await asyncio.sleep(0)
            await here.roster.change("remove", "m")
            assert isinstance(await error_of(waiting), NotReady)
            here.loader.search_gate.set()
            assert await under_way == (1, c(1))
            assert list(here.roster.seats) == ["other"]

    run(scenario)


def test_a_batch_of_a_removed_model_is_not_searched_by_its_successor(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0], "other": paths[0]}) as here:
            here.loader.search_gate.clear()
            blocking = here.waiting("other")
            await asyncio.sleep(0.05)
            old = here.roster.seat("m")
            await here.roster.change("remove", "m")
            await here.roster.change("place", "m", paths[1])
            here.loader.search_gate.set()
            await blocking
            assert old.lane.search([None]) == [(1, c(1))]  # type: ignore[list-item,comparison-overlap]
            assert await here.ask() == (2, c(2))

    run(scenario)


def test_a_first_model_that_is_loading_is_not_ready(paths: list[str]):
    async def scenario() -> None:
        async with replica() as here:
            here.loader.gate.clear()
            change = asyncio.create_task(here.roster.configure({"m": {"checkpoint": paths[0]}}))
            await begun(here.loader, 1)
            assert (here.roster.is_ready, here.roster.seat("m").state) == (False, "loading")
            with pytest.raises(NotReady, match="'m' is not ready: it is being loaded"):
                here.roster.model("m")
            here.loader.gate.set()
            await change
            assert here.roster.is_ready

    run(scenario)


def test_a_model_added_later_does_not_take_the_others_out_of_service(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.broken[c(2)] = CheckpointError("torn")
            here.loader.gate.clear()
            change = asyncio.create_task(here.roster.change("place", "new", paths[1]))
            await begun(here.loader, 2)
            assert here.roster.is_ready
            here.loader.gate.set()
            await change
            assert (here.roster.is_ready, await here.ask()) == (True, (1, c(1)))
            with pytest.raises(NotReady, match="'new' is not ready: torn"):
                here.roster.model("new")

    run(scenario)


def test_a_first_load_that_failed_is_tried_again_after_a_while(paths: list[str]):
    async def scenario() -> None:
        async with replica() as here:
            here.loader.broken[c(1)] = OSError("the disk is away")
            await here.roster.configure({"m": {"checkpoint": paths[0]}})
            assert (here.roster.is_ready, here.roster.seat("m").state) == (False, "failed")
            here.loader.broken.clear()
            await here.roster.follow(here.board.board.state())
            assert here.loader.loaded == [c(1)]  # not at once
            here.roster.seat("m").tried_at -= RETRY_SECONDS
            await here.roster.follow(here.board.board.state())
            assert (here.roster.is_ready, await here.ask()) == (True, (1, c(1)))

    run(scenario)


def test_a_failed_load_beside_a_model_that_answers_is_not_tried_again(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.broken[c(2)] = CheckpointError("torn")
            await here.roster.change("place", "m", paths[1])
            here.roster.seat("m").tried_at -= RETRY_SECONDS
            await here.roster.follow(here.board.board.state())
            assert here.loader.loaded == [c(1), c(2)]

    run(scenario)

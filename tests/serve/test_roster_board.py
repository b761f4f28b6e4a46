from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rllib_ez.errors import CheckpointError
from serve.board import Board
from tests.serve.agents import appear
from tests.serve.bench import run
from tests.serve.replica import Replica, begun, c, replica


def test_the_same_version_under_another_rule_is_not_loaded_again(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            folder = str(Path(paths[0]).parent)
            await here.roster.configure({"m": {"checkpoint": paths[0], "follow": True}})
            assert here.loader.loaded == [c(1)]
            await here.roster.configure({"m": {"checkpoint": folder, "follow": True}})
            assert await here.ask() == (2, c(4))

    run(scenario)


def test_what_was_prepared_is_placed_without_a_second_load(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            model = await here.roster.prepare("m", paths[1])
            assert await here.ask() == (1, c(1))
            await here.roster.change("place", "m", model.path)
            assert await here.ask() == (2, c(2))
            assert here.loader.loaded == [c(1), c(2)]

    run(scenario)


def test_what_cannot_be_prepared_reaches_no_board(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            before = here.board.board.state()
            here.loader.broken[c(2)] = CheckpointError("torn")
            with pytest.raises(CheckpointError, match="torn"):
                await here.roster.prepare("m", paths[1])
            assert here.board.board.state() == before
            assert here.roster.seat("m").failed is None

    run(scenario)


def test_an_older_state_is_ignored(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            old = here.board.board.state()
            await here.roster.change("place", "m", paths[1])
            await here.roster.follow(old)
            assert await here.ask() == (2, c(2))

    run(scenario)


def test_two_changes_at_once_are_made_one_after_the_other(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.gate.clear()
            changes = [
                asyncio.create_task(here.roster.change("place", "m", path)) for path in paths[1:3]
            ]
            await begun(here.loader, 2)
            here.loader.gate.set()
            await asyncio.gather(*changes)
            assert await here.ask() == (3, c(3))

    run(scenario)


def test_two_prepared_at_once_both_get_their_turn(paths: list[str]):
    async def load(here: Replica, path: str) -> None:
        await here.roster.prepare("m", path)
        await here.roster.change("place", "m", path)

    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            await asyncio.gather(*(load(here, path) for path in paths[1:3]))
            version, name = await here.ask()
            assert version == 3
            assert name == Path(here.board.board.state()["models"]["m"]["checkpoint"]).name

    run(scenario)


def test_a_followed_run_reaches_the_replica(paths: list[str]):
    async def scenario() -> None:
        async with replica() as here:
            folder = Path(paths[0]).parent
            await here.roster.configure({"m": {"checkpoint": str(folder), "follow": True}})
            watching = asyncio.create_task(here.roster.watch(period=0.01))
            assert await here.ask() == (1, c(4))
            appear(folder, 5)
            await begun(here.loader, 2)
            await asyncio.sleep(0.05)
            assert await here.ask() == (2, c(5))
            watching.cancel()

    run(scenario)


def test_a_board_that_is_lost_for_a_while_stops_nothing(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            watching = asyncio.create_task(here.roster.watch(period=0.01))
            here.board.is_lost = True
            await asyncio.sleep(0.05)
            assert await here.ask() == (1, c(1))
            here.board.board.place("m", paths[1])  # by another replica, that still reaches it
            here.board.is_lost = False
            await asyncio.sleep(0.1)
            assert await here.ask() == (2, c(2))
            watching.cancel()

    run(scenario)


def test_a_board_that_was_started_anew_is_told(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            await here.roster.change("place", "m", paths[1])
            known = here.board.board.state()
            here.board.board = Board()
            watching = asyncio.create_task(here.roster.watch(period=0.01))
            await asyncio.sleep(0.1)
            watching.cancel()
            assert here.board.board.state() == known
            assert await here.ask() == (2, c(2))

    run(scenario)


def test_a_change_is_not_lost_on_a_board_that_was_started_anew(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0], "other": paths[0]}) as here:
            await here.roster.change("place", "m", paths[1])
            here.board.board = Board()
            await here.roster.change("place", "m", paths[2])
            assert await here.ask() == (3, c(3))
            assert list(here.roster.seats) == ["m", "other"]

    run(scenario)


def test_a_second_replica_takes_what_the_board_says(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as one:
            await one.roster.change("place", "m", paths[1])
            async with replica({"m": paths[0]}, board=one.board) as other:
                assert await other.ask() == (2, c(2))
                assert other.loader.loaded == [c(2)]

    run(scenario)


def test_a_slow_change_does_not_overtake_the_one_after_it(paths: list[str]):
    async def scenario() -> None:
        async with replica({"m": paths[0]}) as here:
            here.loader.gate.clear()
            slow = asyncio.create_task(here.roster.change("place", "m", paths[1]))
            await begun(here.loader, 2)
            back = asyncio.create_task(here.roster.change("roll_back", "m"))
            await asyncio.sleep(0.05)
            here.loader.gate.set()
            await asyncio.gather(slow, back)
            assert await here.ask() == (1, c(1))

    run(scenario)

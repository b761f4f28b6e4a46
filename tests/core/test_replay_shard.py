"""Batches in two steps. What a shard does with finished episodes: `test_shard_episodes.py`."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from rllib_ez.core.replay_shard import LEAST_ROOTS, DrawOrder, ReplayShard
from rllib_ez.core.types import TrainBatch
from tests.core.episodes import (
    FrameReader,
    Oracle,
    RandomLife,
    assert_same_batches,
    make_shard,
    order_of,
    random_episode,
    search,
)


def lived(*, segments: int = 30, **settings) -> ReplayShard:
    """A shard with some episodes, the same at every call."""
    shard = make_shard(**settings)
    shard.add(RandomLife(0).segments(segments))
    return shard


def batches_of(shard: ReplayShard, order: DrawOrder) -> list[TrainBatch]:
    """Draws and finishes at once."""
    return shard.finish(order.number, *search(order, shard.draw(order), Oracle()))


def test_a_draw_is_a_function_of_seed_and_number():
    order = order_of(3)
    first = batches_of(lived(), order)
    assert_same_batches(batches_of(lived(), order), first)
    for other in (batches_of(lived(), order_of(4)), batches_of(lived(seed=1), order)):
        assert not np.array_equal(other[0].slot, first[0].slot)


@pytest.mark.parametrize(("num_batches", "num_parts"), [(1, 1), (3, 1), (1, 4), (3, 4)])
def test_batches_are_cut_into_parts_batch_by_batch(num_batches: int, num_parts: int):
    cut = order_of(5, num_batches=num_batches, num_parts=num_parts, batch_size=8)
    parts = batches_of(lived(), cut)
    (whole,) = batches_of(lived(), order_of(5, batch_size=8 * num_batches))
    size = 8 // num_parts
    assert [len(part.slot) for part in parts] == [size] * (num_batches * num_parts)
    expected = [whole.rows(i * size, (i + 1) * size) for i in range(len(parts))]
    assert_same_batches(parts, expected)


def test_no_part_shares_memory_with_another_or_with_replay():
    shard = lived()
    one, other = batches_of(shard, order_of(0, num_parts=2))
    for name in ("frames", "action", "policy", "slot"):
        assert not np.shares_memory(getattr(one, name), getattr(other, name))
    for name, source in (("frames", "frame"), ("policy", "policy"), ("generation", "generation")):
        assert not np.shares_memory(getattr(one, name), getattr(shard.replay, source))


def test_what_is_missing_comes_in_chunks_of_the_batch_size():
    shard = lived(reanalyse_batch_size=10)
    asked = shard.draw(order_of(0, batch_size=32))
    sizes = [len(batch.position) for batch in asked]
    assert sizes[:-1] == [10] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 10
    assert sum(sizes) == shard.cache.num_asked > 20


def test_what_is_missing_is_shared_among_reanalysers():
    shard = lived(capacity=400, segments=150, num_reanalysers=3)
    sizes = [len(batch.position) for batch in shard.draw(order_of(0, batch_size=200))]
    total = shard.cache.num_asked
    assert total > 3 * LEAST_ROOTS
    assert sizes == [-(-total // 3)] * 2 + [total - 2 * -(-total // 3)]


def test_few_missing_positions_stay_together():
    shard = lived(num_reanalysers=16)
    sizes = [len(batch.position) for batch in shard.draw(order_of(0, batch_size=64))]
    assert sizes == [LEAST_ROOTS, shard.cache.num_asked - LEAST_ROOTS]


def test_what_is_remembered_is_not_asked_for():
    shard = lived()
    batches_of(shard, order_of(0, batch_size=400))  # everything
    assert shard.draw(order_of(1)) == []
    (batch,) = shard.finish(1)
    assert len(batch.slot) == 8
    assert len(shard.draw(order_of(2, version=2))) == 1


def test_status_counts_targets_asked_for_and_computed():
    shard, reader = lived(), FrameReader()
    for number in range(3):
        order = order_of(number, batch_size=40)
        shard.finish(number, *search(order, shard.draw(order), reader))
    status = shard.status()
    assert status.num_computed == sum(map(len, reader.seen)) == len(set(reader.positions))
    assert status.num_asked == shard.cache.num_asked > status.num_computed


def test_a_position_wanted_by_two_open_draws_is_searched_once():
    shard, reader = lived(), FrameReader()
    orders = [order_of(number, batch_size=40) for number in range(3)]
    asked = [shard.draw(order) for order in orders]
    for order, batches in zip(orders, asked, strict=True):
        shard.finish(order.number, *search(order, batches, reader))
    assert len(reader.positions) == len(set(reader.positions)) == shard.cache.num_computed


def test_finishing_before_a_draw_it_depends_on_raises():
    shard, oracle = lived(), Oracle()
    orders = [order_of(number, batch_size=40) for number in range(2)]
    asked = [shard.draw(order) for order in orders]
    with pytest.raises(RuntimeError, match="wanted must be complete"):
        shard.finish(1, *search(orders[1], asked[1], oracle))


def test_a_draw_of_another_network_depends_on_no_earlier_one():
    shard, twin, oracle = lived(), lived(), Oracle()
    old, new = order_of(0, batch_size=40), order_of(1, batch_size=40, version=200)
    asked_old, asked_new = shard.draw(old), shard.draw(new)
    finished = [shard.finish(1, *search(new, asked_new, oracle))]
    finished += [shard.finish(0, *search(old, asked_old, oracle))]  # late, and older
    for batches, order in zip(finished, (new, old), strict=True):
        assert_same_batches(batches, batches_of(twin, order))
    assert shard.draw(replace(new, number=1)) == []  # the newer ones are still there


def test_what_was_forgotten_is_asked_for_again():
    shard = lived()
    first = shard.draw(order_of(0))
    shard.forget_draws()
    again = shard.draw(order_of(0))
    assert [batch.position.tolist() for batch in again] == [b.position.tolist() for b in first]
    with pytest.raises(KeyError):
        shard.finish(1)


def test_new_priorities_move_the_draws():
    shard = lived()
    (batch,) = batches_of(shard, order_of(0))
    status = shard.update_priorities(batch.slot[:1], batch.generation[:1], np.array([1e9]))
    assert status.total_mass == shard.replay.total_mass > 1e5
    (batch,) = batches_of(shard, order_of(1))
    assert (batch.slot == batch.slot[0]).all()


def test_drawing_from_nothing_leaves_nothing_open():
    shard = make_shard()
    with pytest.raises(ValueError, match="num_sampleable must be >= 1"):
        shard.draw(order_of(0))
    with pytest.raises(KeyError):
        shard.finish(0)


def test_a_batch_holds_what_was_drawn_though_every_slot_was_overwritten():
    shard, order = lived(), order_of(0)
    twin = deepcopy(shard)
    asked = shard.draw(order)
    episode = random_episode(np.random.default_rng(9), 999, steps=80, end="terminated")
    shard.add(episode.segments([30]))
    assert (shard.replay.generation >= 2).all()
    finished = shard.finish(0, *search(order, asked, Oracle()))
    assert_same_batches(finished, batches_of(twin, order))
    assert shard.cache.get_state()["slots"].tolist() == []


class Run:
    """Random adds, draws and finishes; every batch beside one that was made at its draw."""

    def __init__(self, seed: int, *, adds: bool) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.life = RandomLife(seed)
        self.shard = make_shard(frame_stack=2, reanalyse_batch_size=7)
        self.shard.add(self.life.segments(30))
        self.twin = deepcopy(self.shard)
        self.adds = adds
        self.open: list[tuple] = []
        self.num_drawn = 0
        self.version = 0

    def add(self) -> None:
        segments = self.life.segments(int(self.rng.integers(1, 5)), update=self.num_drawn)
        for shard in (self.shard, self.twin) if self.adds else ():
            shard.add(segments)

    def draw(self) -> None:
        """The twin finishes at once."""
        sizes = {"num_batches": int(self.rng.integers(1, 3)), "num_parts": 2, "batch_size": 6}
        order = order_of(self.num_drawn, version=self.version, **sizes)
        self.num_drawn += 1
        self.open.append((order, self.shard.draw(order), batches_of(self.twin, order)))

    def finish(self) -> None:
        if self.open:
            order, asked, expected = self.open.pop(0)
            finished = self.shard.finish(order.number, *search(order, asked, Oracle()))
            assert_same_batches(finished, expected)

    def renew(self) -> None:
        self.version += 10

    def prioritise(self) -> None:
        slot = self.rng.integers(64, size=9)
        priority = self.rng.random(9) * 4
        for shard in (self.shard, self.twin):
            shard.update_priorities(slot, shard.replay.generation[slot], priority)


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_open_draws_give_what_draws_one_by_one_give(seed: int, adds: bool):
    run = Run(seed, adds=adds)
    for _ in range(200):
        names = ["add", "draw", "finish", "renew", "prioritise"]
        getattr(run, str(run.rng.choice(names, p=[0.2, 0.3, 0.3, 0.05, 0.15])))()
    while run.open:
        run.finish()
    assert run.num_drawn > 30
    if not adds:  # else a slot is lost between draw and finish, and with it what was found
        assert run.shard.cache.num_computed == run.twin.cache.num_computed

from __future__ import annotations

import numpy as np

from rllib_ez.core.target_cache import TargetCache, Wanted
from rllib_ez.core.types import FreshTargets
from tests.core.episodes import (
    NUM_ACTIONS,
    FrameReader,
    make_replay,
    random_episode,
    search_missing,
)


def cache_of(*, steps: int = 12, capacity: int = 64, frame_stack: int = 1, **place) -> TargetCache:
    """The memory of a replay that holds episode 0, whose frame t stands in slot t."""
    replay = make_replay(capacity=capacity, frame_stack=frame_stack)
    episode = random_episode(np.random.default_rng(0), 0, steps=steps, end="terminated")
    replay.add(episode.segments([]))
    return TargetCache(replay, num_actions=NUM_ACTIONS, **place)


def refresh(cache: TargetCache, slots: list[int], by: FrameReader, *, version: int = 0) -> Wanted:
    return search_missing(cache, cache.ask(np.array(slots), version=version), by)


def overwrite(cache: TargetCache, id: int, *, steps: int, end: str = "") -> None:
    """Adds an episode over the oldest slots."""
    episode = random_episode(np.random.default_rng(id), id, steps=steps, end=end)
    cache.replay.add(episode.segments([]))


def test_each_position_is_computed_once_per_version():
    cache, reader = cache_of(), FrameReader()
    refresh(cache, [3, 1, 3, 3], reader)
    refresh(cache, [1, 3, 5], reader)
    assert reader.seen == [[1, 3], [5]]
    assert (cache.num_asked, cache.num_computed) == (5, 3)


def test_a_new_version_is_computed_anew():
    cache, reader = cache_of(), FrameReader()
    refresh(cache, [3], reader)
    assert refresh(cache, [3], reader, version=7).root_value.tolist() == [3.5 + 7]
    assert reader.seen == [[3], [3]]


def test_values_by_search_and_by_network_are_kept_apart():
    cache = cache_of()
    refresh(cache, [2], FrameReader())
    wanted = cache.ask(np.array([2]), version=0)
    assert (wanted.value("search").tolist(), wanted.value("network").tolist()) == ([2.5], [-2.5])
    assert wanted.policy.tolist() == [[0, 0, 1]]


def test_an_overwritten_slot_is_computed_anew():
    cache, reader = cache_of(steps=7, capacity=8), FrameReader()  # and the final one: full
    refresh(cache, [1, 2], reader)
    overwrite(cache, 1, steps=2)  # over slots 0 and 1
    assert refresh(cache, [1, 2], reader).root_value.tolist() == [1.5, 2.5]
    assert reader.seen == [[1, 2], [1001]]


def test_what_was_asked_for_is_a_copy():
    cache = cache_of(steps=7, capacity=8)
    refresh(cache, [1], FrameReader())
    wanted = cache.ask(np.array([1]), version=0)
    overwrite(cache, 1, steps=7, end="terminated")
    refresh(cache, [1], FrameReader(), version=5)
    assert (wanted.known.tolist(), wanted.root_value.tolist()) == ([True], [1.5])


def test_nothing_asked_for_is_nothing_missing():
    cache = cache_of()
    nothing, some = (cache.ask(np.array(s, np.int64), version=0) for s in ([], [2]))
    some.fill(nothing)
    nothing.fill(some)
    assert nothing.known.all()
    assert not some.known.any()
    assert (nothing.policy.shape, cache.num_asked) == ((0, NUM_ACTIONS), 1)


def test_positions_carry_each_frame_once_and_all_their_stacks():
    cache = cache_of(frame_stack=3)
    wanted = cache.ask(np.array([7, 0, 6]), version=0)
    batch = cache.positions(wanted, np.array([0, 2, 1]))
    assert batch.frames[:, 0].tolist() == [0, 4, 5, 6, 7]
    assert batch.observations()[:, :, 0].tolist() == [[0, 0, 0], [5, 6, 7], [4, 5, 6]]


def test_positions_of_one_slot_over_time_have_different_numbers():
    cache, reader = cache_of(steps=7, capacity=8), FrameReader()
    refresh(cache, list(range(8)), reader)
    for id in (1, 2):
        overwrite(cache, id, steps=7, end="terminated")
        refresh(cache, list(range(8)), reader)
    assert len(set(reader.positions)) == 24


def test_positions_of_different_shards_have_different_numbers():
    reader = FrameReader()
    for shard in range(3):
        cache = cache_of(steps=7, capacity=8, shard=shard, num_shards=3)
        for id in (1, 2, 3):
            refresh(cache, list(range(8)), reader)
            overwrite(cache, id, steps=7, end="terminated")
    assert len(set(reader.positions)) == 3 * 3 * 8


def test_the_number_of_a_position_does_not_move_with_its_company():
    cache = cache_of(shard=1, num_shards=2)
    whole = cache.positions(cache.ask(np.arange(6), version=0), np.arange(6)).position
    alone = cache.positions(cache.ask(np.array([4]), version=9), np.array([0])).position
    assert alone.tolist() == [whole[4]]


def test_shared_finds_the_same_target_of_the_same_version_only():
    cache = cache_of(steps=7, capacity=8)
    one, later = (cache.ask(np.array(s), version=0) for s in ([1, 4, 6], [0, 4, 5, 6, 7]))
    row, same = later.shared(one)
    assert same.tolist() == [False, True, False, True, False]
    assert row[same].tolist() == [1, 2]
    newer = cache.ask(np.array([1, 4, 6]), version=1)
    assert not newer.shared(one)[1].any()


def test_shared_tells_an_overwritten_slot_from_the_one_before():
    cache = cache_of(steps=7, capacity=8)
    before = cache.ask(np.array([0, 2]), version=0)
    overwrite(cache, 1, steps=1)
    assert cache.ask(np.array([0, 2]), version=0).shared(before)[1].tolist() == [False, True]


def test_fill_keeps_what_is_known_already():
    cache = cache_of()
    one, other = (cache.ask(np.array(s), version=0) for s in ([2, 3], [3, 4]))
    for wanted, value in ((one, 1.0), (other, 2.0)):
        column = np.full(2, value, np.float32)
        wanted.answer(np.arange(2), FreshTargets(np.zeros((2, NUM_ACTIONS)), column, column))
    one.fill(other)
    assert one.root_value.tolist() == [1, 1]


def test_a_late_answer_for_an_overwritten_slot_is_not_remembered():
    cache, reader = cache_of(steps=7, capacity=8), FrameReader()
    late = cache.ask(np.array([0, 1, 2]), version=0)
    late.answer(np.arange(3), reader.compute(cache.positions(late, np.arange(3))))
    overwrite(cache, 1, steps=2)
    refresh(cache, [0], reader)  # frame 1000, which is there now
    cache.remember(late, np.arange(3))
    now = cache.ask(np.array([0, 1, 2]), version=0)
    assert now.known.tolist() == [True, False, True]
    assert (now.policy[0].tolist(), late.policy[0].tolist()) == ([0, 1, 0], [1, 0, 0])


def test_a_late_answer_of_an_older_version_does_not_overwrite_a_newer():
    cache, reader = cache_of(), FrameReader()
    late = cache.ask(np.array([2, 3]), version=0)
    refresh(cache, [3], reader, version=5)
    search_missing(cache, late, reader)
    newer = cache.ask(np.array([2, 3]), version=5)
    assert (newer.known.tolist(), newer.root_value[1]) == ([False, True], 3.5 + 5)
    assert cache.ask(np.array([2, 3]), version=0).known.tolist() == [True, False]


def test_an_older_version_is_remembered_where_the_newer_was_of_another_position():
    cache, reader = cache_of(steps=7, capacity=8), FrameReader()
    refresh(cache, [0], reader, version=5)
    overwrite(cache, 1, steps=1)
    refresh(cache, [0], reader, version=0)
    assert cache.ask(np.array([0]), version=0).known.all()


def test_state_comes_back_and_nothing_is_computed_again():
    cache, other, reader = cache_of(), cache_of(), FrameReader()
    refresh(cache, [1, 4], FrameReader())
    refresh(other, [9], FrameReader())  # is forgotten
    other.set_state(cache.get_state())
    wanted = refresh(other, [1, 4], reader)
    assert (reader.seen, other.num_asked, other.num_computed) == ([], 4, 2)
    for name in ("policy", "root_value", "network_value"):
        np.testing.assert_array_equal(getattr(wanted, name), getattr(cache, name)[[1, 4]])
    refresh(other, [9], reader)
    assert reader.seen == [[9]]


def test_state_is_a_copy():
    cache = cache_of()
    refresh(cache, [1], FrameReader())
    state = cache.get_state()
    refresh(cache, [1], FrameReader(), version=9)
    assert (state["root_value"].tolist(), state["version"].tolist()) == ([1.5], [0])


def test_bytes_per_position_are_those_of_the_arrays():
    arrays = [value for value in vars(cache_of()).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == 64 * TargetCache.bytes_per_position(3)

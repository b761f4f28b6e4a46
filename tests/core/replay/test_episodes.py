"""Tests that finished episodes are read back as they were added; see also `test_twin.py`."""

from __future__ import annotations

import numpy as np
import pytest


def read(replay, last_slot: int, episode: int = 1):
    return replay.read_episode(last_slot, episode_id=episode, score=0.0)


def test_add_returns_where_episodes_ended(make_replay, make_segment):
    replay = make_replay()
    ended = replay.add(
        [
            make_segment(1, 0, 2),
            make_segment(2, 0, 2, end="terminated"),
            make_segment(1, 2, 3, end="truncated"),
        ]
    )
    assert ended == [4, 6]
    assert replay.add([make_segment(3, 0, 2)]) == []


def test_end_overwritten_in_the_same_call_is_not_returned(make_replay, make_segment):
    first = make_segment(1, 0, 1, end="terminated")
    second = make_segment(2, 0, 3, end="terminated")
    assert make_replay(5).add([first, second]) == [1, 0]
    assert make_replay(4).add([first, second]) == [1]


@pytest.mark.parametrize("frame_stack", [1, 2, 4])
def test_interleaved_segments_come_back_as_one_episode(make_replay, make_segment, frame_stack):
    replay = make_replay(frame_stack=frame_stack)
    replay.add([make_segment(1, 0, 3), make_segment(2, 0, 2), make_segment(1, 3, 5)])
    replay.add([make_segment(2, 2, 4)])
    (last,) = replay.add([make_segment(1, 5, 8, end="terminated")])
    whole, episode = make_segment(1, 0, 8, end="terminated"), read(replay, last)
    for name in ("frames", "action", "reward", "policy", "root_value"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(whole, name), strict=True)
    assert episode.is_first
    assert episode.terminated


def test_each_position_keeps_the_update_it_was_collected_at(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 2, collected_at_update=3)])
    (last,) = replay.add([make_segment(1, 2, 3, end="truncated", collected_at_update=4)])
    episode = read(replay, last)
    np.testing.assert_array_equal(episode.collected_at_update, np.array([3, 3, 4, 4]), strict=True)
    assert not episode.terminated


def test_identity_and_score_are_handed_through(make_replay, make_segment):
    replay = make_replay()
    (last,) = replay.add([make_segment(1, 0, 2, end="terminated")])
    episode = replay.read_episode(last, episode_id=77, score=-3.5)
    assert (episode.episode_id, episode.score) == (77, -3.5)


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_ring_smaller_than_the_episode_keeps_its_end(make_replay, make_segment, frame_stack):
    replay = make_replay(5, frame_stack=frame_stack)
    replay.add([make_segment(1, 0, 6)])
    (last,) = replay.add([make_segment(1, 6, 9, end="terminated")])
    episode = read(replay, last)
    assert episode.frames[:, 0].tolist() == [105, 106, 107, 108, 109]
    assert episode.root_value.tolist() == [-5, -6, -7, -8]
    assert not episode.is_first


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_one_lost_position_is_noticed(make_replay, make_segment, frame_stack):
    replay = make_replay(6, frame_stack=frame_stack)
    (last,) = replay.add([make_segment(1, 0, 4, end="terminated")])
    replay.add([make_segment(2, 0, 1)])
    assert read(replay, last).is_first
    replay.add([make_segment(2, 1, 2)])
    assert not read(replay, last).is_first


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_beginning_that_never_arrived_is_noticed(make_replay, make_segment, frame_stack):
    replay = make_replay(frame_stack=frame_stack)
    (last,) = replay.add([make_segment(1, 2, 4, end="terminated")])
    assert not read(replay, last).is_first


def test_final_observation_alone_is_an_episode_of_no_steps(make_replay, make_segment):
    replay = make_replay(1)
    (last,) = replay.add([make_segment(1, 0, 3, end="terminated")])
    episode = read(replay, last)
    assert (episode.frames.tolist(), episode.policy.shape) == ([[103]], (0, 3))
    assert not episode.is_first


def test_episode_is_a_copy(make_replay, make_segment):
    replay = make_replay(4)
    (last,) = replay.add([make_segment(1, 0, 3, end="terminated")])
    episode = read(replay, last)
    replay.add([make_segment(2, 0, 4)])
    assert episode.frames[:, 0].tolist() == [100, 101, 102, 103]
    assert episode.action.tolist() == [0, 1, 2]


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_beginning_is_remembered_through_files(make_replay, make_segment, tmp_path, frame_stack):
    replay = make_replay(frame_stack=frame_stack)
    last = replay.add([make_segment(1, 0, 2), make_segment(1, 2, 3, end="terminated")])
    last += replay.add([make_segment(2, 1, 3, end="terminated")])
    replay.save(tmp_path)
    other = make_replay(frame_stack=frame_stack)
    other.load(tmp_path)
    assert [read(other, slot).is_first for slot in last] == [True, False]


def test_slot_without_a_final_observation_is_rejected(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 3)])
    with pytest.raises(ValueError, match="final observation, got 2 of kind 1"):
        read(replay, 2)
    with pytest.raises(ValueError, match="final observation, got 3 of kind 0"):
        read(replay, 3)


@pytest.mark.parametrize("slot", [-1, 32])
def test_slot_outside_the_ring_is_rejected(make_replay, slot):
    with pytest.raises(ValueError, match=r"last_slot must be in \[0, 32\)"):
        read(make_replay(), slot)

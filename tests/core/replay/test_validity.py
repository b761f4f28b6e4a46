"""Tests that `check_valid` finds what is broken."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def replay(make_replay, make_segment):
    """Two episodes, one of them open, in a ring that has gone round: slots 0, 1 hold 203, 204."""
    replay = make_replay(8, frame_stack=2, unroll_steps=1)
    replay.add([make_segment(1, 0, 4, end="terminated"), make_segment(2, 0, 5)])
    replay.check_valid()
    return replay


BREAKS = {
    "next is not mutual": ("prev_slot", 3, 1),
    "prev is not mutual": ("prev_slot", 2, 1),
    "points outside the ring": ("next_slot", 2, 8),
    "a slot in use has generation 0": ("generation", 6, 0),
    "context does not grow by one": ("context", 3, 0),
    "num_used is 8": ("kind", 6, 0),
    "open episodes do not end": ("kind", 1, 2),
    "something follows a final observation": ("kind", 6, 3),
}


@pytest.mark.parametrize("message", BREAKS)
def test_broken_array_is_found(replay, message):
    name, slot, value = BREAKS[message]
    getattr(replay, name)[slot] = value
    with pytest.raises(RuntimeError, match=f"replay is broken: .*{message}"):
        replay.check_valid()


def test_half_a_context_is_found_where_stacks_are_single_frames(make_replay, make_segment):
    replay = make_replay(8, frame_stack=1)
    replay.add([make_segment(1, 0, 4), make_segment(2, 2, 4)])
    assert replay.context[:6].tolist() == [1, 1, 1, 1, 0, 1]
    replay.context[4] = 2
    with pytest.raises(RuntimeError, match="replay is broken: .*context"):
        replay.check_valid()


def test_priority_where_nothing_can_be_drawn_is_found(replay):
    replay._tree.set(np.array([4]), np.array([1.0]))
    with pytest.raises(RuntimeError, match=r"priorities of slots \[4\]"):
        replay.check_valid()


def test_missing_priority_is_found(replay):
    replay._tree.set(np.array([3]), np.array([0.0]))
    with pytest.raises(RuntimeError, match=r"priorities of slots \[3\]"):
        replay.check_valid()


def test_forgotten_open_episode_is_found(replay):
    replay._ring.tails.clear()
    with pytest.raises(RuntimeError, match="open episodes"):
        replay.check_valid()


def test_ring_that_starts_elsewhere_is_found(replay):
    replay._ring.oldest = 4
    with pytest.raises(RuntimeError, match="time runs backward"):
        replay.check_valid()

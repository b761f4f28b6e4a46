"""The checkpoint benchmark's own parts: what it fills replay with, what it compares."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.checkpoint import check_training_changes, compared, digest, segments
from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay import Replay

FRAMES = np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1)
SHAPES = {"frame_shape": (2, 2, 1), "frame_dtype": np.uint8, "num_actions": 3}


def test_replay_takes_the_segments_and_is_full():
    lookahead = {"unroll_steps": 5, "td_steps": 5, "frame_stack": 4}
    replay = Replay(ReplayConfig(replay_capacity=1500), **SHAPES, **lookahead)
    for segment in segments(FRAMES, 2500, 3, first=0):
        replay.add([segment])
    replay.check_valid()
    assert replay.num_steps_added == 2500
    assert replay.num_positions > 1490


def test_frames_that_come_later_are_not_those_from_before():
    first, second = (next(segments(FRAMES, 20, 3, first=first)) for first in (0, 1000))
    assert first.episode_id != second.episode_id
    assert not np.array_equal(first.frames, second.frames)


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.array([1.0, 2.5])},
        {"b": np.array([1.0, 2.0])},
        {"a": np.array([[1.0, 2.0]])},
        {"a": np.array([1.0, 2.0], np.float32)},
    ],
)
def test_a_digest_tells_contents_names_shapes_and_types_apart(other):
    array = np.array([1.0, 2.0])
    assert digest({"a": array}) == digest({"a": array.copy()})
    assert digest({"a": array}) != digest(other)


def test_what_training_left_as_it_was_is_refused():
    before, after = {"weights": "1", "replay": "2"}, {"weights": "1", "replay": "3"}
    assert compared(before, after) == {"weights": True, "replay": False}
    with pytest.raises(RuntimeError, match=r"the same \['weights'\]"):
        check_training_changes(before, after)
    check_training_changes(before, {"weights": "4", "replay": "3"})

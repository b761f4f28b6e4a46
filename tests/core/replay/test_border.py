"""Tests of what replay refuses."""

from __future__ import annotations

import numpy as np
import pytest

WRONG = {
    "frames must hold one frame for each of 3 steps, got 2": {"frames": np.zeros((2, 1), "f4")},
    r"frames must be float32 \(3, 1\), got uint8": {"frames": np.zeros((3, 1), "u1")},
    r"frames must be float32 \(3, 1\), got float32 \(3, 2\)": {"frames": np.zeros((3, 2), "f4")},
    "frames must be finite": {"frames": np.full((3, 1), np.nan, "f4")},
    r"action must be int32 \(3,\), got int64": {"action": np.zeros(3, "i8")},
    r"action must be in \[0, 3\), got 3": {"action": np.array([0, 3, 1], "i4")},
    r"action must be in \[0, 3\), got -1": {"action": np.array([0, -1, 1], "i4")},
    r"reward must be float32 \(3,\), got float32 \(2,\)": {"reward": np.zeros(2, "f4")},
    "reward must be finite, got inf at step 1": {"reward": np.array([0, np.inf, 0], "f4")},
    "root_value must be finite, got nan at step 2": {"root_value": np.array([0, 0, np.nan], "f4")},
    r"policy must be float32 \(3, 3\)": {"policy": np.zeros((3, 2), "f4")},
    "policy must be >= 0 and sum to 1": {"policy": np.full((3, 3), 0.4, "f4")},
    "policy must be >= 0 and": {"policy": np.array([[2, -1, 0]] * 3, "f4")},
    "policy must be .* at step 0": {"policy": np.full((3, 3), np.nan, "f4")},
    "collected_at_update must be >= 0, got -1": {"collected_at_update": -1},
    "episode_id must fit into 64 bits": {"episode_id": 2**63},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_field_is_rejected_by_place_and_name(make_replay, make_segment, message):
    good, wrong = make_segment(1, 0, 3), make_segment(2, 0, 3, **WRONG[message])
    with pytest.raises(ValueError, match=r"segments\[1\]\." + message):
        make_replay().add([good, wrong])


def test_refused_input_leaves_no_trace(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 4)])
    before = replay.get_state()
    bad = make_segment(1, 5, 8, reward=np.full(3, np.nan, "f4"))
    with pytest.raises(ValueError, match="reward"):
        replay.add([make_segment(1, 4, 5), bad])
    np.testing.assert_equal(replay.get_state(), before)


def test_missing_final_frame_is_rejected(make_replay, make_segment):
    with pytest.raises(ValueError, match="3 steps, and the final one, got 3"):
        make_replay().add([make_segment(1, 0, 3, terminated=True)])


def test_segment_of_nothing_is_rejected(make_replay, make_segment):
    with pytest.raises(ValueError, match="at least one step of a running episode"):
        make_replay().add([make_segment(1, 3, 3)])


def test_episode_cannot_begin_twice(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(4, 0, 3)])
    with pytest.raises(ValueError, match="is_first must be False .* for episode 4"):
        replay.add([make_segment(4, 0, 3)])


def test_episode_cannot_begin_twice_in_one_call(make_replay, make_segment):
    with pytest.raises(ValueError, match=r"segments\[1\].is_first must be False"):
        make_replay().add([make_segment(4, 0, 3), make_segment(4, 0, 3)])


def test_nothing_follows_an_end_in_one_call(make_replay, make_segment):
    segments = [make_segment(4, 0, 3, end="truncated"), make_segment(4, 3, 5)]
    with pytest.raises(ValueError, match="before the end of its episode 4"):
        make_replay().add(segments)

"""Tests of replay by hand; `test_twin.py` drives it with random operations."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.replay.links import FINAL_TERMINATED, FINAL_TRUNCATED, STEP
from rllib_ez.errors import SettingError


def sampleable(replay) -> list[int]:
    return np.flatnonzero(replay.mass).tolist()


def draw(replay, num: int = 64, seed: int = 0, update: int = 0):
    return replay.sample(num, rng=np.random.default_rng(seed), update=update)


def test_segments_of_an_episode_join_without_a_gap(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 3), make_segment(2, 0, 2), make_segment(1, 3, 6)])
    slots, is_real = replay.window_slots(np.array([1]), 4)
    assert replay.frame[slots[0], 0].tolist() == [101, 102, 103, 104, 105]
    assert is_real.all()


def test_step_waits_for_its_future(make_replay, make_segment):
    replay = make_replay(unroll_steps=2, td_steps=1)
    replay.add([make_segment(1, 0, 3)])
    assert sampleable(replay) == []
    replay.add([make_segment(1, 3, 5)])
    assert sampleable(replay) == [0, 1]


def test_end_of_the_episode_frees_all_its_steps(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 3, end="terminated")])
    assert sampleable(replay) == [0, 1, 2]


def test_final_observation_is_there_once_and_carries_nothing(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 2), make_segment(1, 2, 3, end="terminated")])
    assert replay.kind[:5].tolist() == [STEP, STEP, STEP, FINAL_TERMINATED, 0]
    assert np.flatnonzero(replay.frame[:, 0] == 103).tolist() == [3]
    assert [replay.action[3], replay.reward[3], replay.root_value[3]] == [0, 0, 0]
    assert (replay.num_positions, replay.num_steps_added) == (3, 3)


def test_terminated_wins_over_truncated(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 1, end="terminated", truncated=True)])
    assert replay.kind[1] == FINAL_TERMINATED


def test_final_observation_may_come_alone(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 2), make_segment(1, 2, 2, end="truncated")])
    assert replay.kind[:3].tolist() == [STEP, STEP, FINAL_TRUNCATED]
    assert sampleable(replay) == [0, 1]


def test_window_repeats_the_last_slot_past_the_end(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 2, end="terminated")])
    slots, is_real = replay.window_slots(np.array([0, 1]), 3)
    assert slots.tolist() == [[0, 1, 2, 2], [1, 2, 2, 2]]
    assert is_real.tolist() == [[True, True, True, False], [True, True, False, False]]


def test_sampled_frames_hold_each_stack_of_the_window(make_replay, make_segment):
    replay = make_replay(frame_stack=3, unroll_steps=2)
    replay.add([make_segment(1, 0, 3, end="truncated")])
    sample = draw(replay)
    frames = {int(s): f[:, 0].tolist() for s, f in zip(sample.slot, sample.frames, strict=True)}
    assert frames == {
        0: [100, 100, 100, 101, 102],
        1: [100, 100, 101, 102, 103],
        2: [100, 101, 102, 103, 103],
    }


def test_stacks_repeat_the_first_frame(make_replay, make_segment):
    replay = make_replay(frame_stack=3)
    replay.add([make_segment(1, 0, 4)])
    stacks = replay.stacks(np.array([0, 1, 3]))[..., 0]
    assert stacks.tolist() == [[100, 100, 100], [100, 100, 101], [101, 102, 103]]


def test_overwriting_takes_the_stack_of_those_that_follow(make_replay, make_segment):
    replay = make_replay(8, frame_stack=3, unroll_steps=1)
    replay.add([make_segment(1, 0, 7, end="terminated")])
    assert sampleable(replay) == [0, 1, 2, 3, 4, 5, 6]
    replay.add([make_segment(2, 0, 1)])
    assert sampleable(replay) == [3, 4, 5, 6]
    assert replay.stacks(np.array([3]))[0, :, 0].tolist() == [101, 102, 103]


def test_cut_stack_is_never_handed_out(make_replay, make_segment):
    replay = make_replay(4, frame_stack=3)
    replay.add([make_segment(1, 0, 4), make_segment(2, 0, 1)])
    with pytest.raises(ValueError, match=r"earlier frames are still there, got \[1, 2\]"):
        replay.stacks(np.array([1, 2, 3]))


def test_empty_slot_has_no_stack(make_replay):
    with pytest.raises(ValueError, match="slots must hold observations"):
        make_replay().stacks(np.array([0]))


def test_segment_whose_predecessor_is_gone_has_no_stack_at_first(make_replay, make_segment):
    replay = make_replay(frame_stack=3)
    replay.add([make_segment(1, 4, 9, end="terminated")])
    assert sampleable(replay) == [2, 3, 4]


def test_overwritten_end_of_an_open_episode_is_not_linked_to(make_replay, make_segment):
    replay = make_replay(4, unroll_steps=1)
    replay.add([make_segment(1, 0, 2), make_segment(2, 0, 4), make_segment(1, 2, 3)])
    assert replay.prev_slot[replay.frame[:, 0] == 102].tolist() == [-1]
    replay.check_valid()


def test_segment_longer_than_the_ring_keeps_its_end(make_replay, make_segment):
    replay = make_replay(4, unroll_steps=1)
    replay.add([make_segment(1, 0, 10, end="terminated")])
    assert sorted(replay.frame[:, 0].tolist()) == [107, 108, 109, 110]
    assert sorted(replay.reward[replay.kind == STEP].tolist()) == pytest.approx([1.7, 1.8, 1.9])
    replay.check_valid()


def test_segment_that_overwrote_its_own_beginning_has_no_stack(make_replay, make_segment):
    replay = make_replay(1, frame_stack=2)
    replay.add([make_segment(1, 0, 3)])
    with pytest.raises(ValueError, match="earlier frames are still there"):
        replay.stacks(np.array([0]))


def test_closed_episode_ends_at_its_last_step(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 4), make_segment(2, 0, 2)])
    replay.close_episodes([1])
    assert replay.kind[:4].tolist() == [STEP, STEP, STEP, FINAL_TRUNCATED]
    assert sampleable(replay) == [0, 1, 2]
    assert [replay.action[3], replay.reward[3], replay.root_value[3]] == [0, 0, 0]
    assert (replay.open_episodes, replay.num_positions) == ([2], 5)


def test_closing_leaves_learned_priorities_alone(make_replay, make_segment):
    replay = make_replay(unroll_steps=1, td_steps=1, priority_exponent=1.0)
    replay.add([make_segment(1, 0, 3)])
    replay.update_priorities(np.array([0]), np.array([1]), np.array([0.25]))
    replay.close_episodes([1])
    assert replay.mass[:3].tolist() == [0.25, 0.25, 0.0]


def test_closing_unknown_episodes_changes_nothing(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 4)])
    before = replay.get_state()
    replay.close_episodes([5])
    np.testing.assert_equal(replay.get_state(), before)


def test_new_steps_get_the_largest_priority(make_replay, make_segment):
    replay = make_replay(priority_exponent=0.5)
    assert replay.total_mass == 0.0
    replay.add([make_segment(1, 0, 2, end="terminated")])
    assert replay.mass[:2].tolist() == [1.0, 1.0]
    replay.update_priorities(np.array([0, 1]), np.array([1, 1]), np.array([9.0, 4.0]))
    replay.add([make_segment(2, 0, 1, end="terminated")])
    assert replay.mass[:5].tolist() == [3.0, 2.0, 0.0, 3.0, 0.0]
    assert replay.total_mass == 8.0


def test_priority_of_an_overwritten_slot_is_passed_over(make_replay, make_segment):
    replay = make_replay(3, priority_exponent=1.0)
    replay.add([make_segment(1, 0, 2, end="terminated")])
    sample = draw(replay, 8)
    replay.add([make_segment(2, 0, 2, end="terminated")])
    assert replay.update_priorities(sample.slot, sample.generation, np.full(8, 5.0)) == 0
    assert replay.mass.tolist() == [1.0, 1.0, 0.0]


def test_priority_of_a_step_that_lost_its_stack_is_passed_over(make_replay, make_segment):
    replay = make_replay(4, frame_stack=2, priority_exponent=1.0)
    replay.add([make_segment(1, 0, 3, end="terminated"), make_segment(2, 0, 1)])
    slots, generation = np.array([1, 2]), np.array([1, 1])
    assert replay.update_priorities(slots, generation, np.array([5.0, 5.0])) == 1
    assert replay.mass.tolist() == [0.0, 0.0, 5.0, 0.0]


def test_priority_zero_stays_within_reach(make_replay, make_segment):
    replay = make_replay(priority_exponent=1.0)
    replay.add([make_segment(1, 0, 2, end="terminated")])
    replay.update_priorities(np.array([0]), np.array([1]), np.array([0.0]))
    assert replay.mass[0] == 1e-6
    replay.check_valid()


@pytest.mark.parametrize("priority", [-0.1, np.nan, np.inf])
def test_impossible_priority_is_rejected(make_replay, make_segment, priority):
    replay = make_replay()
    replay.add([make_segment(1, 0, 2, end="terminated")])
    with pytest.raises(ValueError, match="priority must be finite and >= 0"):
        replay.update_priorities(np.array([0, 1]), np.ones(2, int), np.array([1.0, priority]))


def test_lengths_that_differ_are_rejected(make_replay):
    with pytest.raises(ValueError, match=r"\[M\] alike, got \(2,\), \(1,\) and \(2,\)"):
        make_replay().update_priorities(np.array([0, 1]), np.array([1]), np.ones(2))


@pytest.mark.parametrize("slot", [-1, 32])
def test_slot_outside_the_ring_is_rejected(make_replay, slot):
    with pytest.raises(ValueError, match=r"slot must be in \[0, 32\)"):
        make_replay().update_priorities(np.array([slot]), np.array([1]), np.ones(1))
    with pytest.raises(ValueError, match=r"slot must be in \[0, 32\)"):
        make_replay().window_slots(np.array([slot]), 2)


def test_exponent_zero_draws_uniformly(make_replay, make_segment):
    replay = make_replay(priority_exponent=0.0)
    replay.add([make_segment(1, 0, 4, end="terminated")])
    replay.update_priorities(np.arange(4), np.ones(4, int), np.array([0.0, 1.0, 50.0, 1e9]))
    assert np.bincount(draw(replay, 400).slot, minlength=4).tolist() == [100] * 4


def test_draws_are_as_frequent_as_priorities(make_replay, make_segment):
    replay = make_replay(priority_exponent=1.0)
    replay.add([make_segment(1, 0, 4, end="terminated")])
    replay.update_priorities(np.arange(4), np.ones(4, int), np.array([1.0, 2.0, 3.0, 4.0]))
    drawn = np.bincount(draw(replay, 1000).slot, minlength=4)
    np.testing.assert_allclose(drawn, [100, 200, 300, 400], atol=2)  # stratified: nearly exact


def test_importance_weights_undo_the_preference(make_replay, make_segment):
    replay = make_replay(priority_exponent=1.0, is_exponent_initial=0.5, is_exponent_updates=10)
    replay.add([make_segment(1, 0, 2, end="terminated")])
    replay.update_priorities(np.arange(2), np.ones(2, int), np.array([1.0, 4.0]))
    sample, late = draw(replay), draw(replay, update=10)
    np.testing.assert_allclose(sample.is_weight, np.where(sample.slot == 0, 1.0, 0.5))
    np.testing.assert_allclose(late.is_weight, np.where(late.slot == 0, 1.0, 0.25))


def test_beta_grows_linearly_and_then_stays(make_replay):
    config = {"is_exponent_initial": 0.4, "is_exponent_final": 0.8, "is_exponent_updates": 100}
    replay = make_replay(**config)
    betas = [replay.is_exponent(update) for update in (0, 25, 100, 1000)]
    assert betas == pytest.approx([0.4, 0.5, 0.8, 0.8])


def test_batch_is_not_sorted_by_slot(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 20, end="terminated")])
    slot = draw(replay, 20).slot
    assert (np.diff(slot) < 0).any()


def test_nothing_to_draw_is_an_error(make_replay, make_segment):
    replay = make_replay()
    replay.add([make_segment(1, 0, 3)])
    with pytest.raises(ValueError, match=r"num_sampleable must be >= 1 to draw, got 0.*= 3 steps"):
        draw(replay)


def test_draw_of_no_samples_is_rejected(make_replay):
    with pytest.raises(ValueError, match="num_samples must be >= 1, got 0"):
        draw(make_replay(), 0)


def test_negative_update_is_rejected(make_replay):
    with pytest.raises(ValueError, match="update must be >= 0, got -1"):
        make_replay().is_exponent(-1)


def test_pixels_stay_bytes(make_replay, make_segment):
    replay = make_replay(frame_shape=(2, 2, 3), frame_dtype=np.uint8, frame_stack=2)
    frames = np.random.default_rng(0).integers(256, size=(4, 2, 2, 3), dtype=np.uint8)
    replay.add([make_segment(1, 0, 3, end="terminated", frames=frames)])
    sample = draw(replay)
    assert (sample.frames.dtype, sample.frames.shape) == (np.uint8, (64, 4, 2, 2, 3))
    window = sample.frames[sample.slot == 1][0]
    np.testing.assert_array_equal(window, frames)


@pytest.mark.parametrize("setting", [{"frame_stack": 0}, {"frame_stack": 257}, {"td_steps": 0}])
def test_setting_out_of_range_is_rejected(make_replay, setting):
    with pytest.raises(SettingError, match=f"{next(iter(setting))}.* must be"):
        make_replay(**setting)

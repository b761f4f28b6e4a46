"""Whole batches of targets from a real replay, beside a twin that walks through each episode."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.config import TargetsConfig
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.core.targets import Draft, TargetBuilder
from rllib_ez.core.types import SampledWindows, TrainBatch
from tests.core.episodes import (
    NUM_ACTIONS,
    Episode,
    FrameReader,
    assert_same_batches,
    fresh_policy,
    fresh_value,
    make_replay,
    random_episode,
    search_missing,
)


def built(
    episodes: list[Episode],
    *,
    borders: list[int] | None = None,
    update: int = 0,
    num_samples: int = 64,
    **settings,
) -> tuple[SampledWindows, TrainBatch, FrameReader]:
    """Samples and targets of episodes that arrive in segments."""
    config = TargetsConfig(**{"unroll_steps": 3, "td_steps": 2, "discount": 0.5, **settings})
    replay = make_replay(capacity=200, unroll_steps=config.unroll_steps, td_steps=config.td_steps)
    for episode in episodes:
        replay.add(episode.segments([b for b in borders or [] if b < len(episode.action)]))
    reader = FrameReader()
    builder = TargetBuilder(config, replay, TargetCache(replay, num_actions=NUM_ACTIONS))
    rng = np.random.default_rng(0)
    sample = replay.sample(num_samples, rng=rng, update=0)
    draft = builder.draft(sample, update=update, version=0, rng=rng)
    search_missing(builder.cache, draft.wanted, reader)
    return sample, builder.finish(draft), reader


def at(sample: SampledWindows, step: int) -> int:
    """Row of a sample that starts at this step of episode 0."""
    return int(np.flatnonzero(sample.frames[:, 0, 0] == step)[0])


def plain(rewards: list[float], end: str, **changes) -> Episode:
    """Episode 0 with these rewards; stored values are 100 + t, stored policies favour action 2."""
    steps = len(rewards)
    fields = {
        "id": 0,
        "action": np.arange(steps, dtype=np.int32) % NUM_ACTIONS,
        "reward": np.array(rewards, np.float32),
        "policy": np.tile(np.array([0.1, 0.2, 0.7], np.float32), (steps, 1)),
        "root_value": 100 + np.arange(steps, dtype=np.float32),
        "end": end,
    }
    return Episode(**{**fields, **changes})


# Unroll 3, td 2, discount 0.5; the fresh search value of frame t is t + 0.5.


def test_targets_in_the_middle_of_an_episode():
    """k = 0: 1 + 2/2 + 2.5/4 = 2.625; k = 1: 2 + 3/2 + 3.5/4; and so on."""
    sample, batch, _ = built([plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")])
    row = at(sample, 0)
    assert batch.value[row].tolist() == [2.625, 4.375, 6.125, 7.875]
    assert batch.value_prefix[row].tolist() == [1, 3, 6]
    assert batch.action[row].tolist() == [0, 1, 2]
    assert batch.policy[row].tolist() == [fresh_policy(t) for t in range(4)]
    for mask in (batch.value_mask, batch.policy_mask, batch.prefix_mask, batch.consistency_mask):
        assert (mask[row] == 1).all()


def test_terminated_tail_uses_rewards_only_and_then_nothing():
    """Two steps left: 7 + 8/2 = 11, 8, then the absorbing state at 0 for ever."""
    sample, batch, _ = built([plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")])
    row = at(sample, 6)
    assert batch.value[row].tolist() == [11, 8, 0, 0]
    assert batch.value_mask[row].tolist() == [1, 1, 1, 1]
    assert batch.policy_mask[row].tolist() == [1, 1, 0, 0]
    assert batch.value_prefix[row].tolist() == [7, 15, 15]
    assert batch.prefix_mask[row].tolist() == [1, 1, 1]
    assert batch.consistency_mask[row].tolist() == [1, 1, 0]


def test_truncated_tail_bootstraps_from_the_final_observation():
    """Two steps left: 7 + 8/2 + 8.5/4 = 13.125, 8 + 8.5/2 = 12.25; what comes then is unknown."""
    sample, batch, _ = built([plain([1, 2, 3, 4, 5, 6, 7, 8], "truncated")])
    row = at(sample, 6)
    assert batch.value[row, :2].tolist() == [13.125, 12.25]
    assert batch.value_mask[row].tolist() == [1, 1, 0, 0]
    assert batch.policy_mask[row].tolist() == [1, 1, 0, 0]
    assert batch.prefix_mask[row].tolist() == [1, 1, 0]
    assert batch.consistency_mask[row].tolist() == [1, 1, 0]


def test_actions_past_the_end_are_drawn_among_all():
    sample, batch, _ = built([plain([1, 2], "terminated")], num_samples=400)
    past = batch.action[sample.frames[:, 0, 0] == 1, 1:]
    assert np.unique(past).tolist() == [0, 1, 2]


@pytest.mark.parametrize("borders", [[], [4], [1, 2, 3, 4, 5, 6, 7]])
def test_no_bootstrap_is_lost_at_the_border_of_a_segment(borders: list[int]):
    """The published code bootstraps nothing across the ends of its blocks."""
    rewards = [1, 2, 3, 4, 5, 6, 7, 8]
    _, whole, _ = built([plain(rewards, "terminated")])
    _, cut, _ = built([plain(rewards, "terminated")], borders=borders)
    np.testing.assert_array_equal(cut.value, whole.value)
    np.testing.assert_array_equal(cut.value_mask, whole.value_mask)
    np.testing.assert_array_equal(cut.value_prefix, whole.value_prefix)


def test_a_running_episode_bootstraps_within_what_is_known():
    sample, batch, _ = built([plain([1, 2, 3, 4, 5, 6], "")])
    assert sorted(set(sample.frames[:, 0, 0])) == [0]  # 3 + 2 more steps are known of it alone
    assert batch.value[0].tolist() == [2.625, 4.375, 6.125, 7.875]
    assert (batch.value_mask == 1).all()


def test_old_samples_bootstrap_sooner():
    """Age 10 with a decay of 10: horizon 1. 1 + 1.5/2 = 1.75; 2 + 2.5/2 = 3.25; ..."""
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated", collected_at_update=5)
    sample, batch, _ = built([episode], update=15, horizon_decay_updates=10)
    assert batch.value[at(sample, 0)].tolist() == [1.75, 3.25, 4.75, 6.25]


def test_without_off_policy_correction_age_does_not_matter():
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")
    settings = {"horizon_decay_updates": 10, "off_policy_correction": False}
    sample, batch, _ = built([episode], update=10_000, **settings)
    assert batch.value[at(sample, 0)].tolist() == [2.625, 4.375, 6.125, 7.875]


def test_bootstrap_by_network_takes_the_value_head():
    """1 + 2/2 - 2.5/4 = 1.375."""
    sample, batch, _ = built([plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")], bootstrap="network")
    assert batch.value[at(sample, 0), 0] == 1.375


def test_nothing_reanalysed_means_stored_policies_and_values():
    """1 + 2/2 + 102/4 = 27.5, and no search at all."""
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")
    sample, batch, reader = built([episode], reanalyse_fraction=0.0)
    row = at(sample, 0)
    assert batch.value[row, 0] == 27.5
    np.testing.assert_array_equal(batch.policy[row], np.tile(episode.policy[0], (4, 1)))
    assert reader.seen == []


def test_nothing_reanalysed_still_values_a_cut():
    """No search was run at the final observation when acting: 8 + 8.5/2 = 12.25."""
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "truncated")
    sample, batch, reader = built([episode], reanalyse_fraction=0.0)
    assert batch.value[at(sample, 7), 0] == 12.25
    assert reader.seen == [[8]]


def test_a_fraction_reanalyses_whole_samples():
    """Values are fresh in all of them."""
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")
    _, batch, _ = built([episode], reanalyse_fraction=0.25, num_samples=2000)
    is_step = batch.policy_mask == 1
    stored = (batch.policy == np.array([0.1, 0.2, 0.7], np.float32)).all(-1)
    by_sample = np.array([set(row[real]) for row, real in zip(stored, is_step, strict=True)])
    assert all(len(kinds) == 1 for kinds in by_sample)
    assert np.mean([kinds == {False} for kinds in by_sample]) == pytest.approx(0.25, abs=0.04)
    assert batch.value.max() < 30  # stored values are 100 and more


def test_a_lstm_horizon_inside_the_unroll_resets_the_prefix():
    episode = plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")
    sample, batch, _ = built([episode], lstm_horizon=2)
    assert batch.value_prefix[at(sample, 0)].tolist() == [1, 3, 3]


def test_every_position_is_wanted_once():
    """Policies of steps 0 to 7, values of 2 to 7; the end itself is worth 0."""
    _, _, reader = built([plain([1, 2, 3, 4, 5, 6, 7, 8], "terminated")])
    assert reader.seen == [[0, 1, 2, 3, 4, 5, 6, 7]]


def drafted() -> tuple[TargetBuilder, Draft]:
    """What four steps and a cut give, before anything was searched."""
    replay = make_replay()
    replay.add(plain([1, 2, 3, 4], "truncated").segments([]))
    config = TargetsConfig(unroll_steps=2, td_steps=3)
    builder = TargetBuilder(config, replay, TargetCache(replay, num_actions=NUM_ACTIONS))
    rng = np.random.default_rng(0)
    sample = replay.sample(8, rng=rng, update=0)
    return builder, builder.draft(sample, update=0, version=0, rng=rng)


def test_a_batch_with_something_missing_is_not_finished():
    builder, draft = drafted()
    draft.wanted.known[1:] = True
    with pytest.raises(RuntimeError, match="wanted must be complete, got 1 positions"):
        builder.finish(draft)


def test_finishing_leaves_the_draft_as_it_was():
    builder, draft = drafted()
    search_missing(builder.cache, draft.wanted, FrameReader())
    policy, root_value = draft.policy.copy(), draft.root_value.copy()
    assert_same_batches([builder.finish(draft)], [builder.finish(draft)])
    np.testing.assert_array_equal(draft.policy, policy)
    np.testing.assert_array_equal(draft.root_value, root_value)


def test_what_names_a_sample_is_passed_on():
    sample, batch, _ = built([plain([1, 2, 3], "terminated")])
    assert batch.frames is sample.frames
    for name in ("slot", "generation", "is_weight"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(sample, name))


def test_rows_of_a_batch_are_batches():
    _, batch, _ = built([plain([1, 2, 3], "terminated")])
    part = batch.rows(3, 5)
    np.testing.assert_array_equal(part.value, batch.value[3:5])
    np.testing.assert_array_equal(part.frames, batch.frames[3:5])
    assert part.frames.flags.c_contiguous
    assert part.slot.shape == (2,)


def twin_row(episode: Episode, start: int, config: TargetsConfig, update: int) -> dict:
    """The targets of one sample whose policy is reanalysed, position by position."""
    horizon = config.td_steps
    if config.off_policy_correction:
        age = update - episode.collected_at_update
        horizon = max(1, min(horizon, horizon - age // config.horizon_decay_updates))
    steps, row = len(episode.action), {"value": [], "value_mask": [], "policy_mask": []}
    row |= {"prefix": [], "prefix_mask": [], "consistency_mask": [], "policy": []}
    for t in range(start, start + config.unroll_steps + 1):
        value, discount = 0.0, 1.0
        for u in range(t, min(t + horizon, steps)):
            value += discount * float(episode.reward[u])
            discount *= config.discount
        last = min(t + horizon, steps)
        if not (last == steps and episode.end == "terminated"):
            value += discount * fresh_value(last, config.bootstrap)
        inside = t < steps
        row["value"].append(value if inside else 0.0)
        row["value_mask"].append(float(inside or episode.end == "terminated"))
        row["policy_mask"].append(float(inside))
        row["policy"].append(fresh_policy(1000 * episode.id + t) if inside else [0.0] * 3)
    for k in range(config.unroll_steps):
        since = k - k % config.lstm_horizon
        row["prefix"].append(float(episode.reward[start + since : start + k + 1].sum()))
        inside = start + k < steps
        row["prefix_mask"].append(float(inside or episode.end == "terminated"))
        row["consistency_mask"].append(float(inside))
    return row


@pytest.mark.parametrize("seed", range(12))
def test_batches_agree_with_the_slow_twin(seed: int):
    rng = np.random.default_rng(seed)
    settings = {
        "unroll_steps": int(rng.integers(1, 6)),
        "td_steps": int(rng.integers(1, 6)),
        "discount": 0.9,
        "lstm_horizon": int(rng.integers(1, 6)),
        "horizon_decay_updates": 10,
        "off_policy_correction": bool(seed % 3),
        "bootstrap": "search" if seed % 2 else "network",
    }
    ends = ["terminated", "truncated", "terminated", "truncated", ""]
    episodes = [
        random_episode(
            rng, i, steps=int(rng.integers(1, 14)) + 12 * (end == ""), end=end,
            collected_at_update=int(rng.integers(40)),
        )
        for i, end in enumerate(ends)
    ]  # fmt: skip
    borders = sorted(set(rng.integers(1, 14, size=3).tolist()))
    sample, batch, _ = built(episodes, borders=borders, update=40, **settings)
    config = TargetsConfig(**settings)
    for b, number in enumerate(sample.frames[:, 0, 0].astype(int)):
        row = twin_row(episodes[number // 1000], number % 1000, config, 40)
        known = np.array(row["value_mask"])
        np.testing.assert_array_equal(batch.value_mask[b], known)
        np.testing.assert_allclose(batch.value[b] * known, row["value"] * known, atol=2e-5)
        np.testing.assert_array_equal(batch.policy_mask[b], row["policy_mask"])
        np.testing.assert_array_equal(
            batch.policy[b] * batch.policy_mask[b][:, None], row["policy"]
        )
        np.testing.assert_array_equal(batch.prefix_mask[b], row["prefix_mask"])
        known = batch.prefix_mask[b]
        np.testing.assert_allclose(batch.value_prefix[b] * known, row["prefix"] * known, atol=1e-5)
        np.testing.assert_array_equal(batch.consistency_mask[b], row["consistency_mask"])

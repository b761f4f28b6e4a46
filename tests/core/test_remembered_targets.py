"""Remembered targets are those that searching every position of every batch anew gives."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.random import Stream, generator
from rllib_ez.core.reanalyse import Reanalyser
from rllib_ez.core.replay import FINAL_TERMINATED
from rllib_ez.core.replay_shard import DrawOrder, ReplayShard
from rllib_ez.core.targets import (
    bootstrap_offsets,
    dynamic_horizon,
    n_step_value_targets,
    read_windows,
)
from rllib_ez.core.types import PositionBatch, TrainBatch
from tests.core.episodes import NUM_ACTIONS, RandomLife, make_shard, order_of, search

MODEL = ModelConfig(
    frame_shape=(1,),
    frame_stack=2,
    num_actions=NUM_ACTIONS,
    hidden_size=8,
    lstm_size=4,
    observation_scale=(1e-4,),
)
SEARCH = SearchConfig(num_simulations=4, discount=0.5)


@cache
def weights_of(version: int) -> dict[str, torch.Tensor]:
    """A network whose heads are not 0, another for each version."""
    torch.manual_seed(version)
    network = EfficientZeroModel(MODEL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.inference_state_dict()


class TargetNetwork:
    """A real reanalyser that fetches the network it is asked for."""

    def __init__(self) -> None:
        self.version = 0
        self.num_searched = 0
        self._reanalyser = Reanalyser(MODEL, SEARCH, seed=5, root_noise=True)

    def compute(self, batch: PositionBatch):
        if self._reanalyser.version != self.version:
            self._reanalyser.set_weights(weights_of(self.version), version=self.version)
        self.num_searched += len(batch.position)
        return self._reanalyser.compute(batch)


class Naive:
    """Searches one position at a time, each time it is met; remembers nothing."""

    def __init__(self, shard: ReplayShard) -> None:
        self.shard, self.network = shard, TargetNetwork()

    def look(self, slot: int) -> tuple[np.ndarray, float]:
        """Policy and root value of what is in a slot now."""
        replay = self.shard.replay
        alone = PositionBatch(
            frames=replay.stacks(np.array([slot]))[0],
            stack=np.array([[0, 1]]),
            position=replay.generation[[slot]] * replay.capacity + slot,
        )
        targets = self.network.compute(alone)
        return targets.policy[0], float(targets.root_value[0])

    def targets(self, order: DrawOrder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Policies [B, K+1, A], where they count [B, K+1], and values [B, K+1] of a draw."""
        replay, config = self.shard.replay, self.shard.builder.config
        self.network.version = order.version
        rng = generator(self.shard.seed, Stream.REPLAY, order.number)
        size = order.batch_size * order.num_batches
        start = replay.sample(size, rng=rng, update=order.update).slot
        windows = read_windows(replay, start, num_steps=config.unroll_steps + config.td_steps)
        horizon = dynamic_horizon(
            order.update - replay.collected_at_update[start],
            td_steps=config.td_steps,
            horizon_decay_updates=config.horizon_decay_updates,
        )
        num_steps = bootstrap_offsets(horizon, windows.length, unroll_steps=config.unroll_steps)
        policy = np.zeros((*num_steps.shape, NUM_ACTIONS), np.float32)
        counts, bootstrap = np.zeros(num_steps.shape, bool), np.zeros(num_steps.shape, np.float32)
        for b, k in np.ndindex(num_steps.shape):
            length = int(windows.length[b])
            counts[b, k] = k < length
            if counts[b, k]:
                policy[b, k] = self.look(int(windows.slots[b, k]))[0]
            last = int(windows.slots[b, min(length, k + num_steps[b, k])])
            if replay.kind[last] != FINAL_TERMINATED:
                bootstrap[b, k] = self.look(last)[1]
        value = n_step_value_targets(windows.reward, bootstrap, num_steps, discount=config.discount)
        return policy, counts, value


def assert_same(batches: list[TrainBatch], expected: tuple) -> None:
    """To the bit, wherever a target counts."""
    policy, counts, value = expected
    for name, wanted in (("policy_mask", counts.astype(np.float32)), ("value", value)):
        ours = np.concatenate([getattr(batch, name) for batch in batches])
        np.testing.assert_array_equal(ours, wanted, err_msg=name, strict=True)
    ours = np.concatenate([batch.policy for batch in batches])
    np.testing.assert_array_equal(ours[counts], policy[counts], strict=True)


@pytest.mark.parametrize("seed", range(3))
def test_remembered_equals_searched_anew(seed: int):
    """Over draws, several of them open, new networks, new priorities and overwritten slots."""
    rng, life = np.random.default_rng([seed, 1]), RandomLife(seed)
    shard, network = make_shard(frame_stack=2, reanalyse_batch_size=20), TargetNetwork()
    shard.add(life.segments(30))
    naive, drawn = Naive(shard), []
    for number in range(40):
        order = order_of(number, version=10 * (number // 10), num_batches=2, num_parts=2)
        drawn.append((order, shard.draw(order), naive.targets(order)))
        if rng.random() < 0.4:
            shard.add(life.segments(2, update=number))
        while len(drawn) > rng.integers(3):
            order, asked, expected = drawn.pop(0)
            batches = shard.finish(order.number, *search(order, asked, network))
            assert_same(batches, expected)
            for batch in batches:
                shard.update_priorities(batch.slot, batch.generation, rng.random(len(batch.slot)))
    assert shard.replay.generation.min() >= 2
    assert network.num_searched == shard.cache.num_computed < naive.network.num_searched / 4

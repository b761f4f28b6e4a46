"""Stages that take a known time and compute nothing, to see what the pipeline itself costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from rllib_ez.algorithm.actors import archive_spec
from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.env_runner import MCTSEnvRunner
from rllib_ez.algorithm.learner import EfficientZeroLearner
from rllib_ez.core.replay.archive import EpisodeArchive
from rllib_ez.core.trainer import NAMES, Step
from rllib_ez.core.types import Episode, FreshTargets, PositionBatch, TrainBatch
from rllib_ez.envs import EnvSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """How long each stage sleeps, in seconds. Those of a batch are shared by who works on it."""

    vector_step: float = 0.0  # an action in all environments of a runner, search included
    batch: float = 0.0  # the fresh targets of one batch, if one searcher searches all of it
    learn: float = 0.0  # the update with one batch, if one learner learns all of it


class SleepingRunner(MCTSEnvRunner):
    """Acts at random after a while; the environments are real."""

    def _act(self, *, random_actions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        time.sleep(self.config.costs.vector_step)
        return super()._act(random_actions=True)


class SleepingReanalyser:
    """Stands in for `Reanalyser`; one call is an equal part of a batch."""

    def __init__(self, num_actions: int, *, seconds: float) -> None:
        self._num_actions, self._seconds = num_actions, seconds
        self.version = -1

    def set_weights(self, weights: dict[str, torch.Tensor], *, version: int) -> None:
        """Takes note of the version."""
        self.version = version

    def compute(self, batch: PositionBatch) -> FreshTargets:
        """Says the same of all positions, after a while."""
        time.sleep(self._seconds)
        size = len(batch.position)
        policy = np.full((size, self._num_actions), 1 / self._num_actions, np.float32)
        return FreshTargets(policy, np.zeros(size, np.float32), np.zeros(size, np.float32))


class SleepingLearner(EfficientZeroLearner):
    """Leaves the weights as they are."""

    def _update_once(self, batch: TrainBatch) -> Step:
        size = len(batch.is_weight)
        time.sleep(self.config.costs.learn * size / self.config.batch_size)
        self.num_updates += 1
        self._weights_seq_no += 1
        root_value = torch.from_numpy(batch.value[:, 0]) + 1  # so that all priorities are 1
        return Step(self.num_updates, 0.0, torch.zeros(len(NAMES) + 1), root_value, batch)


class SimulatedConfig(EfficientZeroConfig):
    """The real pipeline with stages that sleep."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.env_runner_cls = SleepingRunner
        self.costs = Costs()

    def make_reanalyser(self, spec: EnvSpec) -> Any:
        """One that sleeps; several share the work on a batch."""
        seconds = self.costs.batch / max(1, self.num_reanalyse_actors)
        return SleepingReanalyser(spec.num_actions, seconds=seconds)

    def get_default_learner_class(self) -> type:
        """One that sleeps."""
        return SleepingLearner


def write_random_episodes(folder: Path, config: EfficientZeroConfig, *, num_steps: int) -> None:
    """An archive of at least so many random steps of CartPole, to begin with a filled replay."""
    archive = EpisodeArchive(folder, spec=archive_spec(config, config.env_spec()), writer="random")
    archive.append(list(random_episodes(num_steps)))


def random_episodes(num_steps: int) -> Iterator[Episode]:
    """Whole episodes of CartPole with random actions."""
    env, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(0)
    number = 0
    while num_steps > 0:
        number += 1
        frames, action, terminated = [env.reset(seed=number)[0]], [], False
        while not terminated:
            action.append(int(rng.integers(2)))
            frame, _, terminated, _, _ = env.step(action[-1])
            frames.append(frame)
        length = len(action)
        num_steps -= length
        yield Episode(
            episode_id=number,
            is_first=True,
            frames=np.stack(frames),
            action=np.array(action, np.int32),
            reward=np.ones(length, np.float32),
            policy=np.full((length, 2), 0.5, np.float32),
            root_value=np.zeros(length, np.float32),
            collected_at_update=np.zeros(length + 1, np.int64),
            terminated=True,
            score=float(length),
        )

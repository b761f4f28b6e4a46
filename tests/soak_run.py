"""A run whose replay is soon full, in this process; prints what memory does, as JSON.

    python -m tests.soak_run

Frames are so large that keeping any of them shows. The second half keeps every segment: what is
measured must see that.
"""

from __future__ import annotations

import gc
import json
import os
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.processes import memory_of
from cli.quiet_ray import local_ray
from rllib_ez.algorithm.config import EfficientZeroConfig

REPEATS = 512  # of CartPole's four numbers in a frame
CAPACITY = 400  # positions
STEPS = 2500  # between two looks at memory


class WideCartPole(gymnasium.ObservationWrapper):
    """CartPole with frames of 8 KiB."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        shape = (4 * REPEATS,)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The four numbers again and again."""
        return np.tile(observation, REPEATS)


def make_algorithm() -> Any:
    """Much is lived through, little is learned."""
    config = EfficientZeroConfig().environment(WideCartPole).debugging(log_level="ERROR")
    config.training(
        num_simulations=2,
        search_method="gumbel",
        hidden_size=8,
        lstm_size=4,
        head_hidden_size=4,
        projection_size=8,
        prediction_hidden_size=4,
        batch_size=8,
        replay_ratio=0.02,
        num_random_steps=100,
        target_update_every_updates=5,
        replay_capacity=CAPACITY,
        rollout_fragment_length=25,
        num_envs_per_env_runner=4,
    )
    return config.build_algo()


def growth(algo: Any) -> int:
    """Bytes that this process takes more of in so many steps."""
    before, until = own_bytes(), algo.pipeline.num_env_steps + STEPS
    while algo.pipeline.num_env_steps < until:
        algo.train()
    return own_bytes() - before


def own_bytes() -> int:
    """Memory of this process, garbage collected."""
    gc.collect()
    return memory_of(os.getpid()).own


def keep_segments(algo: Any) -> list[Any]:
    """Makes replay keep what it is given, for good: the leak."""
    kept: list[Any] = []
    shard = algo.pipeline.shards.workers[0].target.shard
    add = shard.add

    def leak(segments: list[Any]) -> Any:
        kept.extend(segments)
        return add(segments)

    shard.add = leak
    return kept


def main() -> None:
    """Fills replay, looks on, then leaks."""
    torch.set_num_threads(1)  # or its threads wait for each other where others work, too
    with local_ray(num_cpus=2):
        algo = make_algorithm()
        growth(algo)  # replay is full, what is built at first use is there
        told = {"clean": growth(algo)}
        replay = algo.pipeline.shards.workers[0].target.shard.replay
        replay.check_valid()
        kept = keep_segments(algo)
        told |= {"leaking": growth(algo), "num_kept": len(kept)}
        told |= {"num_positions": replay.num_positions, "num_steps": replay.num_steps_added}
        algo.stop()
    print(json.dumps(told))


if __name__ == "__main__":
    main()

"""How replay's budget in bytes is spent: positions, remembered targets, batches on their way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.core.config import ModelConfig, ReplayConfig, TargetsConfig
from rllib_ez.core.replay import MemoryEstimate, check_fits, estimate_bytes
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.envs import EnvSpec
from rllib_ez.errors import SettingError


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What is kept in memory once replay is full."""

    budget: int  # bytes, the setting replay_bytes
    replay: MemoryEstimate  # with the remembered targets
    batch_bytes: int  # of batches drawn, searched or waiting, at most

    @property
    def replay_bytes(self) -> int:
        """What is left of the budget for positions."""
        return self.budget - self.batch_bytes

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.replay.total_bytes + self.batch_bytes

    def __str__(self) -> str:
        """One line for people."""
        batches, budget = self.batch_bytes / 2**30, self.budget / 2**30
        return f"{self.replay}, batches on their way {batches:.2f} GiB; budget {budget:.2f} GiB"


def plan_memory(config: EfficientZeroConfig, spec: EnvSpec) -> MemoryPlan:
    """Splits the budget.

    Raises:
        SettingError: the budget does not hold the batches and one position.
        MemoryBudgetError: replay in this process would not fit into free memory.
    """
    replay: ReplayConfig = config.stage(ReplayConfig)
    layout = SlotLayout(tuple(spec.frame_space.shape), spec.frame_dtype, spec.num_actions)
    extra = TargetCache.bytes_per_position(spec.num_actions)
    each = layout.bytes_per_position() + extra
    batches = bytes_on_the_way(config, spec)
    if replay.replay_bytes < batches + each:
        raise SettingError(
            f"replay_bytes must hold the batches on their way, {batches:,} bytes, and at least "
            f"one position of {each:,}, got {replay.replay_bytes:,}; lower batch_size, "
            "batches_ahead or prefetch_batches, or raise it"
        )
    left = ReplayConfig(
        replay_bytes=replay.replay_bytes - batches, replay_capacity=replay.replay_capacity
    )
    estimate = estimate_bytes(left, layout, extra_bytes_per_slot=extra)
    if config.num_replay_shards == 0:
        check_fits(estimate.total_bytes + batches)
    return MemoryPlan(replay.replay_bytes, estimate, batches)


def bytes_on_the_way(config: EfficientZeroConfig, spec: EnvSpec) -> int:
    """The most that batches hold between their draw and their gradient.

    A sample is its frames, K + L of them, and at most as many frames again for the positions
    to search, which reach td_steps further; the rest of it is small.
    """
    run: RunConfig = config.stage(RunConfig)
    targets: TargetsConfig = config.stage(TargetsConfig)
    model: ModelConfig = config.model_config_for(spec)
    frame = math.prod(model.frame_shape) * spec.frame_dtype.itemsize
    window = targets.unroll_steps + model.frame_stack
    numbers = 8 * (targets.unroll_steps + 1) * (8 + 3 * spec.num_actions)
    sample = frame * (2 * window + targets.td_steps) + numbers
    is_parallel = config.num_replay_shards or config.num_reanalyse_actors or config.num_learners
    updates = run.batches_ahead + (run.prefetch_batches if is_parallel else 0)
    return updates * run.batch_size * sample

"""How replay's budget in bytes is spent: positions, remembered targets, batches on their way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.core.config import ModelConfig, ReplayConfig, TargetsConfig
from rllib_ez.core.engines import pick_device
from rllib_ez.core.replay import MemoryEstimate, check_fits, estimate_bytes
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.envs import EnvSpec
from rllib_ez.errors import MemoryBudgetError, SettingError

SHARE_OF_GPU = 0.5  # of its free memory, that frames may take: learner and search need the rest


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
    actors = config.num_replay_shards + config.num_reanalyse_actors + config.num_learners
    updates = run.batches_ahead + (run.prefetch_batches if actors or run.learner_thread else 0)
    return updates * run.batch_size * sample


def frames_device(config: EfficientZeroConfig, num_bytes: int) -> torch.device | None:
    """Where a copy of replay's frames is kept for batches to be gathered from; None: nowhere.

    On the GPU that this process learns and searches on, if they fit.

    Args:
        config: "auto" asks for it where it can be had, "cuda" in any case.
        num_bytes: of the frames once replay is full.

    Raises:
        SettingError: "cuda", where replay, learner and search do not share a GPU in one process.
        MemoryBudgetError: "cuda", and they do not fit.
    """
    wanted = config.stage(RunConfig).frames_device
    if wanted == "cpu":
        return None
    reason = apart_from_gpu(config)
    if reason is not None:
        if wanted == "cuda":
            raise SettingError(f"frames_device must be 'auto' or 'cpu', got 'cuda': {reason}")
        return None
    free, _ = torch.cuda.mem_get_info()
    if num_bytes <= SHARE_OF_GPU * free:
        return torch.device("cuda")
    if wanted == "cuda":
        raise MemoryBudgetError(
            f"frames must take at most {SHARE_OF_GPU:.0%} of the GPU's free memory, got "
            f"{num_bytes / 2**30:.2f} of {free / 2**30:.2f} GiB; lower replay_capacity, or set "
            "frames_device='cpu'"
        )
    return None


def apart_from_gpu(config: EfficientZeroConfig) -> str | None:
    """Why replay, learner and search do not share a GPU in this process; None if they do."""
    run: RunConfig = config.stage(RunConfig)
    for name in ("num_learners", "num_replay_shards", "num_reanalyse_actors"):
        if getattr(config, name) > 0:
            return f"{name} is {getattr(config, name)}, so they are not all in one process"
    if not config.num_gpus_per_learner:
        return "num_gpus_per_learner is 0, so the learner uses the CPU"
    if torch.device(pick_device(run.inference_device)).type != "cuda":
        return f"inference_device {run.inference_device!r} is not a GPU here"
    return None

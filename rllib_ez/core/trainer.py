"""One optimiser step: a batch in, losses and new priorities out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ez.core.config import OptimizerConfig
from rllib_ez.core.losses import PARTS
from rllib_ez.core.types import TrainBatch

ADVICE = "the weights are unchanged. Lower learning_rate, or check the environment's rewards"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one gradient update left behind."""

    losses: dict[str, float]  # mean over the batch, by part, and the weighed "total"
    grad_norm: float  # before clipping
    learning_rate: float
    slot: np.ndarray  # [B] i64
    generation: np.ndarray  # [B] i64
    priority: np.ndarray  # [B] f32, |root value - value target|, reward units


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9 (the paper's) or Adam; weight decay on every parameter."""
    if config.optimizer_name == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay
        )
    return torch.optim.Adam(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def learning_rate_at(update: int, config: OptimizerConfig) -> float:
    """The learning rate of gradient update `update`, counted from 0.

    lr(u) = rate * min(1, (u + 1) / warmup) * (0.1 if u >= decay_at_update > 0 else 1)
    """
    rate = config.learning_rate
    if config.warmup_updates > 0:
        rate *= min(1.0, (update + 1) / config.warmup_updates)
    if 0 < config.decay_at_update <= update:
        rate *= 0.1
    return rate


def to_tensors(batch: TrainBatch, device: torch.device | str) -> dict[str, Tensor]:
    """The fields of a batch on a device; what only names the samples stays behind."""
    return {
        field.name: torch.from_numpy(getattr(batch, field.name)).to(device, non_blocking=True)
        for field in fields(batch)
        if field.name not in ("slot", "generation")
    }


def apply_gradients(
    total: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    update: int,
    config: OptimizerConfig,
) -> tuple[float, float]:
    """Backward, clip by global norm, step; returns the norm before clipping and the rate.

    Raises:
        FloatingPointError: loss or gradient is not finite; the weights are left as they were.
    """
    if not torch.isfinite(total.detach()):
        raise FloatingPointError(
            f"loss must be finite, got {total.item()} at update {update}; {ADVICE}"
        )
    rate = learning_rate_at(update, config)
    parameters = []
    for group in optimizer.param_groups:
        group["lr"] = rate
        parameters += group["params"]
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"gradient must be finite, got norm {norm} at update {update}; {ADVICE}"
        )
    optimizer.step()
    return norm, rate


def step_result(
    out: dict[str, Tensor], batch: TrainBatch, *, grad_norm: float, learning_rate: float
) -> StepResult:
    """Reads losses and priorities off what `losses` returned."""
    names = ("total", *PARTS)
    means = torch.stack([out[name].detach().mean() for name in names]).tolist()
    priority = np.abs(out["root_value"].cpu().numpy() - batch.value[:, 0])
    return StepResult(
        dict(zip(names, means, strict=True)),
        grad_norm,
        learning_rate,
        batch.slot,
        batch.generation,
        priority,
    )

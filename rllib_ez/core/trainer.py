"""One optimiser step: a batch in, losses and new priorities out.

Nothing here waits for the device until `step_results` reads what several steps have left there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from rllib_ez.core.config import OptimizerConfig
from rllib_ez.core.losses import PARTS
from rllib_ez.core.types import TrainBatch

ADVICE = "that update changed no weights. Lower learning_rate, or check the environment's rewards"
NAMES = ("total", *PARTS)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one gradient update left behind."""

    losses: dict[str, float]  # mean over the batch, by part, and the weighed "total"
    grad_norm: float  # before clipping
    learning_rate: float
    slot: np.ndarray  # [B] i64
    generation: np.ndarray  # [B] i64
    priority: np.ndarray  # [B] f32, |root value - value target|, reward units


@dataclass(frozen=True, slots=True)
class Step:
    """One gradient update as it stands on the device, where it may not be over yet."""

    update: int
    learning_rate: float
    numbers: Tensor  # [len(NAMES) + 1] f32: losses by NAMES, gradient's norm
    root_value: Tensor  # [B] f32, reward units
    batch: TrainBatch


class Optimizer:
    """Our optimiser and its guard, which leaves out an update whose gradient is not finite.

    torch's GradScaler at a constant scale of 1: it looks at the gradients and decides on the
    device, so that the host need not wait.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
        self.optimizer, self.config = optimizer, config
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        kind = self._parameters[0].device.type
        self._guard = torch.amp.GradScaler(kind, init_scale=1.0, growth_interval=2**31 - 1)

    def step(self, total: Tensor, *, update: int) -> tuple[Tensor, float]:
        """Backward, clip by global norm, step.

        Args:
            total: [] loss.
            update: gradient updates before this one.

        Returns:
            The gradient's norm [] before clipping, on the device, and the learning rate.
        """
        rate = learning_rate_at(update, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self._guard.scale(total).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
        self._guard.step(self.optimizer)
        self._guard.update(1.0)
        return norm, rate


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9 (the paper's) or Adam; weight decay on every parameter."""
    if config.optimizer_name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=0.9,
            weight_decay=config.weight_decay,
            fused=True,
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
        field.name: torch.as_tensor(getattr(batch, field.name)).to(device, non_blocking=True)
        for field in fields(batch)
        if field.name not in ("slot", "generation")
    }


def finished(
    out: dict[str, Tensor], batch: TrainBatch, *, update: int, norm: Tensor, learning_rate: float
) -> Step:
    """What an update leaves on the device; `out` as `losses` returned it."""
    means = [out[name].detach().float().mean() for name in NAMES]
    numbers = torch.stack([*means, norm.detach().float()])
    return Step(update, learning_rate, numbers, out["root_value"], batch)


def step_results(steps: Sequence[Step]) -> list[StepResult]:
    """Losses and priorities of some updates, read off the device in one go.

    Raises:
        FloatingPointError: a loss or a gradient was not finite.
    """
    numbers = torch.stack([step.numbers for step in steps]).cpu().tolist()
    values = torch.cat([step.root_value for step in steps]).cpu().numpy()
    ends = np.cumsum([len(step.root_value) for step in steps])[:-1]
    return [
        _result(step, row, value)
        for step, row, value in zip(steps, numbers, np.split(values, ends), strict=True)
    ]


def _result(step: Step, numbers: list[float], root_value: np.ndarray) -> StepResult:
    *means, norm = numbers
    for name, value in (("loss", means[0]), ("gradient's norm", norm)):
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} must be finite, got {value} at update {step.update}; {ADVICE}"
            )
    return StepResult(
        dict(zip(NAMES, means, strict=True)),
        norm,
        step.learning_rate,
        step.batch.slot,
        step.batch.generation,
        np.abs(root_value - step.batch.value[:, 0]),
    )

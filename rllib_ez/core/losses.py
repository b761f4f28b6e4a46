"""The four losses of one unroll: value prefix, policy, value, consistency.

Axes: B samples, K unroll_steps, A actions, S bins, L frame_stack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.augment import augment
from rllib_ez.core.config import LossConfig
from rllib_ez.core.consistency import consistency_loss
from rllib_ez.core.networks import EfficientZeroModel

PARTS = ("value_prefix", "policy", "value", "consistency")


@dataclass(frozen=True, slots=True)
class Unroll:
    """What the network said along K imagined steps."""

    latents: Tensor  # [B, K+1, ...]
    value_prefix_logits: Tensor  # [B, K, S]
    policy_logits: Tensor  # [B, K+1, A]
    value_logits: Tensor  # [B, K+1, S]


def unroll(
    model: EfficientZeroModel,
    observation: Tensor,
    action: Tensor,
    *,
    lstm_horizon: int,
    gradient_scale: float,
) -> Unroll:
    """Imagines K steps from real observations.

    Args:
        model: the network.
        observation: [B, L, *frame].
        action: [B, K] i64.
        lstm_horizon: the LSTM forgets every so many steps, as in search.
        gradient_scale: of the gradient that passes from a step into the latent before it.
    """
    latents = [model.represent(observation)]
    for k in range(action.shape[1]):
        before = scale_gradient(latents[-1], gradient_scale)
        latents.append(model.transition(before, action[:, k]))
    stacked = torch.stack(latents, dim=1)  # [B, K+1, ...]
    imagined = stacked[:, 1:]
    prefix = [
        model.accumulate(imagined[:, start : start + lstm_horizon], None)[0]
        for start in range(0, action.shape[1], lstm_horizon)
    ]
    policy_logits, value_logits = model.predict(stacked.flatten(0, 1))
    shape = stacked.shape[:2]
    return Unroll(
        stacked,
        torch.cat(prefix, dim=1),
        policy_logits.view(*shape, -1),
        value_logits.view(*shape, -1),
    )


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The same value; its gradient times `factor`."""
    return x * factor + x.detach() * (1 - factor)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-sum target * log softmax(logits) over the last axis: [..., S] and [..., S] to [...]."""
    return -(target * torch.log_softmax(logits.float(), dim=-1)).sum(-1)


def losses(
    model: EfficientZeroModel,
    batch: dict[str, Tensor],
    *,
    config: LossConfig,
    lstm_horizon: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Unrolls the network along a batch and compares it with the targets.

        part[b] = root term + (1 / K) * sum_k term k    (masked terms are 0)
        total   = mean_b is_weight[b] * sum_parts weight * part[b]

    Value prefix and consistency have no root term.

    Args:
        model: in training mode.
        batch: the fields of `TrainBatch` as tensors.
        config: weights of the parts, augmentation.
        lstm_horizon: as in search.
        rng: for augmentation.

    Returns:
        total [], each part [B] by its name, root_value [B] (reward units, no gradient).
    """
    frames, action = batch["frames"], batch["action"]
    K = action.shape[1]
    L = frames.shape[1] - K
    pixels = frames.dim() == 5
    now, later = frames[:, :L], frames[:, 1:]
    if pixels and config.augmentation:
        now = augment(now, config=config, rng=rng)
        later = augment(later, config=config, rng=rng)
    out = unroll(
        model,
        now,
        action,
        lstm_horizon=lstm_horizon,
        gradient_scale=config.dynamics_gradient_scale,
    )
    prefix_code = model.value_prefix_support.two_hot(batch["value_prefix"])
    value_code = model.value_support.two_hot(batch["value"])
    per_step = torch.full((K + 1,), 1 / K, device=frames.device)
    per_step[0] = 1
    prefix = cross_entropy(out.value_prefix_logits, prefix_code) * batch["prefix_mask"]
    policy = cross_entropy(out.policy_logits, batch["policy"]) * batch["policy_mask"]
    value = cross_entropy(out.value_logits, value_code) * batch["value_mask"]
    parts = {
        "value_prefix": prefix.mean(1),
        "policy": (policy * per_step).sum(1),
        "value": (value * per_step).sum(1),
        "consistency": torch.zeros_like(batch["is_weight"]),
    }
    if config.consistency_weight > 0:
        mask = batch["consistency_mask"]
        apart = consistency_loss(model, out.latents[:, 1:], later, mask=mask, config=config)
        parts["consistency"] = apart.mean(1)
    weighed = sum(getattr(config, f"{name}_weight") * parts[name] for name in PARTS)
    total = (batch["is_weight"] * weighed).mean()
    root_value = model.value_support.expectation(out.value_logits[:, 0].detach())
    return {"total": total, **parts, "root_value": root_value}

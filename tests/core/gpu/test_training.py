"""A gradient in bf16 beside the one in f32, by autocast: on a GPU, or on the CPU without one."""

from __future__ import annotations

import numpy as np
import torch

from rllib_ez.core.compute import autocast
from rllib_ez.core.config import ComputeConfig, LossConfig
from rllib_ez.core.losses import losses
from tests.core.gpu.test_folded import lived_in
from tests.core.test_networks import PIXEL

BATCH, UNROLL_STEPS = 16, 3


def batch_of(device: torch.device) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    size, steps = (BATCH, UNROLL_STEPS), (BATCH, UNROLL_STEPS + 1)
    frames = (BATCH, PIXEL.frame_stack + UNROLL_STEPS, *PIXEL.frame_shape)
    arrays = {
        "frames": rng.integers(256, size=frames, dtype=np.uint8),
        "action": rng.integers(4, size=size),
        "value_prefix": rng.standard_normal(size).astype(np.float32),
        "value": rng.standard_normal(steps).astype(np.float32),
        "policy": rng.dirichlet(np.ones(4), steps).astype(np.float32),
        "is_weight": np.ones(BATCH, np.float32),
    }
    for name in ("prefix_mask", "consistency_mask"):
        arrays[name] = np.ones(size, np.float32)
    for name in ("policy_mask", "value_mask"):
        arrays[name] = np.ones(steps, np.float32)
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def loss_and_gradient(device: torch.device, precision: str) -> tuple[float, torch.Tensor]:
    model = lived_in(PIXEL).to(device).train()
    with autocast(ComputeConfig(learner_precision=precision), device):
        out = losses(
            model,
            batch_of(device),
            config=LossConfig(augmentation=False),
            lstm_horizon=2,
            rng=np.random.default_rng(0),
        )
    out["total"].backward()
    return out["total"].item(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_a_training_step_in_bf16_lands_near_f32(device):
    """8 bits of mantissa: 1 % of the loss, and a gradient within 15 degrees."""
    loss, gradient = loss_and_gradient(device, "float32")
    near_loss, near = loss_and_gradient(device, "bfloat16")
    assert abs(near_loss - loss) < 0.01 * abs(loss)
    assert not torch.equal(near, gradient)  # it was bf16
    assert torch.cosine_similarity(near, gradient, dim=0) > np.cos(np.deg2rad(15))
    assert 0.9 < near.norm() / gradient.norm() < 1.1

"""The paper's Atari network and batch, with weights and inputs that mean nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import nn

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.types import TrainBatch

NETWORK = ModelConfig(
    network="pixel",
    frame_shape=(96, 96, 3),
    frame_stack=4,
    num_actions=18,
    lstm_size=512,
    value_range=300.0,
    value_bins=601,
    value_prefix_range=300.0,
    value_prefix_bins=601,
    projection_size=1024,
    prediction_hidden_size=512,
)  # preset atari100k, all 18 actions
LSTM_HORIZON = 5


def network() -> EfficientZeroModel:
    """Its outputs do not start at 0 as those of a fresh one: search would have nothing to see."""
    torch.manual_seed(0)
    model = EfficientZeroModel(NETWORK)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and not layer.weight.any():
                layer.weight.normal_(0, 2 / layer.in_features**0.5)
    return model


def observations(batch: int) -> np.ndarray:
    """[B, L, H, W, C] u8."""
    rng = np.random.default_rng(0)
    shape = (batch, NETWORK.frame_stack, *NETWORK.frame_shape)
    return rng.integers(256, size=shape, dtype=np.uint8)


def train_batch(batch: int, unroll_steps: int) -> TrainBatch:
    """Targets at random, nothing masked."""
    rng = np.random.default_rng(1)
    size, steps = (batch, unroll_steps), unroll_steps + 1
    frames = (batch, NETWORK.frame_stack + unroll_steps, *NETWORK.frame_shape)
    policy = rng.dirichlet(np.ones(NETWORK.num_actions), (batch, steps)).astype(np.float32)
    real, every = np.ones(size, np.float32), np.ones((batch, steps), np.float32)
    return TrainBatch(
        frames=rng.integers(256, size=frames, dtype=np.uint8),
        action=rng.integers(NETWORK.num_actions, size=size),
        value_prefix=rng.standard_normal(size).astype(np.float32),
        value=rng.standard_normal((batch, steps)).astype(np.float32) * 3,
        policy=policy,
        value_mask=every,
        policy_mask=every,
        prefix_mask=real,
        consistency_mask=real,
        is_weight=np.ones(batch, np.float32),
        slot=np.arange(batch),
        generation=np.zeros(batch, np.int64),
    )


def median_ms(call: Callable[[], object], *, seconds: float) -> float:
    """Wall time of a call that leaves work on the GPU, waited for; after three to warm up."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return median(taken) * 1e3


def machine() -> dict[str, str]:
    """What a result was measured on; ray may be missing there."""
    import numba

    return {
        "gpu": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "numba": numba.__version__,
        "numpy": np.__version__,
    }

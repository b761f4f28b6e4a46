"""Random shift and brightness for pixels, one draw per sample, in the learner only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.config import LossConfig


def augment(frames: Tensor, *, config: LossConfig, rng: np.random.Generator) -> Tensor:
    """Shifts each sample by up to `shift_pixels`, borders repeated, and scales its brightness.

        out[b] = shift(frames[b], dy, dx) * (1 + intensity_scale * clip(N(0, 1), -2, 2))

    All frames of a sample share one draw.

    Args:
        frames: [B, T, H, W, C] uint8 or f32.
        config: shift_pixels and intensity_scale.
        rng: moves on by 3 B draws.

    Returns:
        [B, T, H, W, C] f32, in the unit of `frames`.

    Source: DrQ, arXiv:2004.13649; EfficientZero, arXiv:2111.00210, appendix A.2.
    """
    batch, _, height, width, _ = frames.shape
    shift = rng.integers(-config.shift_pixels, config.shift_pixels + 1, size=(2, batch, 1))
    noise = np.clip(rng.standard_normal(batch), -2, 2).astype(np.float32)
    device = frames.device
    rows = torch.from_numpy(np.clip(np.arange(height) + shift[0], 0, height - 1)).to(device)
    columns = torch.from_numpy(np.clip(np.arange(width) + shift[1], 0, width - 1)).to(device)
    sample = torch.arange(batch, device=device)[:, None, None]
    by_pixel = frames.permute(0, 2, 3, 1, 4)  # [B, H, W, T, C]
    shifted = by_pixel[sample, rows[:, :, None], columns[:, None, :]]
    factor = torch.from_numpy(1 + config.intensity_scale * noise).to(device)
    return shifted.permute(0, 3, 1, 2, 4) * factor.view(-1, 1, 1, 1, 1)

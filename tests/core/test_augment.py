from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_ez.core.augment import augment
from rllib_ez.core.config import LossConfig

SHIFT_ONLY = LossConfig(shift_pixels=2, intensity_scale=0.0)
BRIGHTNESS_ONLY = LossConfig(shift_pixels=0, intensity_scale=0.05)


def random_frames(batch: int) -> Tensor:
    """[B, 3, 7, 9, 2] uint8."""
    numbers = np.random.default_rng(0).integers(256, size=(batch, 3, 7, 9, 2), dtype=np.uint8)
    return torch.from_numpy(numbers)


def crops(frames: np.ndarray, pad: int) -> dict[tuple[int, int], np.ndarray]:
    """Every crop of one sample [T, H, W, C], padded with its own border, by its place."""
    height, width = frames.shape[1:3]
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    places = [(y, x) for y in range(2 * pad + 1) for x in range(2 * pad + 1)]
    return {(y, x): padded[:, y : y + height, x : x + width] for y, x in places}


def shift_of(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """The one crop that `after` is, all frames alike."""
    found = [place for place, crop in crops(before, 2).items() if np.array_equal(crop, after)]
    assert len(found) == 1
    return found[0]


def test_each_sample_is_a_crop_of_itself_with_repeated_borders():
    frames = random_frames(200)
    out = augment(frames, config=SHIFT_ONLY, rng=np.random.default_rng(1))
    shifts = {shift_of(frames[b].numpy(), out[b].numpy()) for b in range(200)}
    assert len(shifts) == 25  # 5 x 5 places, all of them occur


def test_brightness_is_one_factor_per_sample():
    frames = torch.ones(500, 3, 4, 4, 1)
    out = augment(frames, config=BRIGHTNESS_ONLY, rng=np.random.default_rng(1))
    factors = out[:, 0, 0, 0, 0]
    assert (out == factors[:, None, None, None, None]).all()
    assert factors.std().item() == pytest.approx(0.05 * 0.88, rel=0.15)  # N(0, 1) cut at 2


def test_brightness_is_cut_off_at_two_deviations():
    frames = torch.ones(5000, 1, 1, 1, 1)
    out = augment(frames, config=BRIGHTNESS_ONLY, rng=np.random.default_rng(1))
    assert out.min().item() == pytest.approx(0.9)
    assert out.max().item() == pytest.approx(1.1)


def test_nothing_asked_for_changes_nothing():
    frames = random_frames(5)
    still = LossConfig(shift_pixels=0, intensity_scale=0.0)
    out = augment(frames, config=still, rng=np.random.default_rng(1))
    assert torch.equal(out, frames.float())


def test_same_generator_state_gives_the_same_frames():
    frames, config = random_frames(4), LossConfig()
    once = augment(frames, config=config, rng=np.random.default_rng(5))
    again = augment(frames, config=config, rng=np.random.default_rng(5))
    other = augment(frames, config=config, rng=np.random.default_rng(6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rllib_ez.core.compiled import layers


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lively_norm(size: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(size)
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(random(1, size)))
        norm.bias.copy_(torch.from_numpy(random(2, size)))
    return norm


@pytest.mark.parametrize("size", [2, 15, 16, 33, 128])
@pytest.mark.parametrize("mean", [0.0, 300.0])
@torch.no_grad()
def test_normalise_equals_torchs_layer_norm(size, mean):
    norm, x, out = lively_norm(size), random(3, size) + np.float32(mean), np.zeros(size + 3, "f4")
    layers.normalise(layers.pack_norm(norm), x, 0, out, 3, -np.inf)
    expected = norm.double()(torch.from_numpy(x).double())
    np.testing.assert_allclose(out[3:], expected, rtol=1e-5, atol=1e-4 if mean else 2e-6)


@torch.no_grad()
def test_a_floor_of_zero_is_a_relu():
    norm, x, out = lively_norm(21), random(4, 21), np.zeros(21, np.float32)
    layers.normalise(layers.pack_norm(norm), x, 0, out, 0, 0.0)
    expected = functional.relu(norm(torch.from_numpy(x)))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_a_layer_equals_linear_norm_and_relu():
    torch.manual_seed(0)
    linear, norm, x = nn.Linear(19, 70), lively_norm(70), random(5, 4, 19)
    out = layers.rows_for(4, 70)
    layers.layer_rows(layers.pack_layer(linear, norm), x, out, 4)
    expected = functional.relu(norm(linear(torch.from_numpy(x))))
    np.testing.assert_allclose(out[:, :70], expected, rtol=1e-5, atol=2e-6)


def test_a_copy_takes_the_numbers_between_and_no_more():
    source, out = random(6, 80), np.zeros(80, np.float32)
    layers.copy(source, 7, out, 11, 37)
    np.testing.assert_array_equal(out[11:48], source[7:44])
    assert not out[:11].any()
    assert not out[48:].any()

"""The pixel network's weights as its compiled code reads them: channels last, batch norm folded.

Axes: H x W pixels of the latent, C channels in whole vectors, G head_channels, M lstm_size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rllib_ez.core.compiled.conv import Convs, Grid, grid_of, pack_convs
from rllib_ez.core.compiled.folding import block_convs, exact, folded
from rllib_ez.core.compiled.layers import Array, Bins, Linear, bins_of, pack_linear, pack_module
from rllib_ez.core.compiled.pixel_encoder_weights import Encoder, pack_encoder
from rllib_ez.core.compiled.recurrent import Lstm, pack_lstm
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.networks.pixel import PixelPrediction, PixelTrunk
from rllib_ez.core.scalar_transform import Support
from rllib_ez.errors import SettingError


class Layout(NamedTuple):
    """Sizes of a latent image and of what is made of it."""

    pixels: int  # H * W
    channels: int  # C
    stored: int  # channels of a latent as stored: without what C is padded with
    squeezed: int  # G


class Tower(NamedTuple):
    """The convolutions of one step: the transition's, its residual blocks, then prediction's."""

    grid: Grid
    convs: Convs
    num_blocks: int  # of the transition, and as many of prediction
    action: Array  # [A * H * W * C] f32, what an action's planes add to the first convolution


class Mlp(NamedTuple):
    """A layer with a ReLU, and one without."""

    hidden: Linear
    output: Linear


class Prefix(NamedTuple):
    """Latents in order to the rewards summed so far."""

    squeeze: Linear  # [C] to [G] at each pixel, then a ReLU
    lstm: Lstm
    scale: Array  # [M] f32, of the batch norm behind the LSTM
    shift: Array  # [M] f32
    mlp: Mlp
    bins: Bins


class Prediction(NamedTuple):
    """Latent to value and policy, past prediction's blocks."""

    squeeze: Linear  # [C] to [2 G] at each pixel, then a ReLU: policy's features, then value's
    policy: Mlp
    value: Mlp
    bins: Bins


class PixelNet(NamedTuple):
    """All weights, as compiled code reads them."""

    layout: Layout
    encoder: Encoder
    tower: Tower
    prefix: Prefix
    prediction: Prediction


def pack_network(network: EfficientZeroModel) -> PixelNet:
    """Copies a pixel network's weights; later training does not reach the copy.

    Raises:
        SettingError: the network is not of the kind "pixel".
    """
    trunk, prediction = network.trunk, network.prediction
    if not isinstance(trunk, PixelTrunk) or not isinstance(prediction, PixelPrediction):
        raise SettingError(
            f"network must be 'pixel' to be compiled as one, got {network.config.network!r}"
        )
    channels, height, width = trunk.latent_shape
    grid = grid_of(height, width, channels)
    config = network.config
    return PixelNet(
        Layout(grid.pixels, grid.channels, channels, config.head_channels),
        pack_encoder(trunk, config.frame_shape, config.frame_stack),
        _pack_tower(trunk, prediction, grid),
        _pack_prefix(network, trunk, grid),
        _pack_prediction(prediction, network.value_support, grid, config),
    )


def _pack_tower(trunk: PixelTrunk, prediction: PixelPrediction, grid: Grid) -> Tower:
    channels, height, width = trunk.latent_shape
    scale, shift = folded(trunk.step_norm)
    weight = exact(trunk.step_conv.weight) * scale[:, None, None, None]
    planes = exact(trunk.action_planes())  # [A, P, H, W]
    action = np.zeros((len(planes), height, width, grid.channels), np.float32)
    action[..., :channels] = by_action(planes, weight[:, channels:])
    blocks = [*trunk.step_blocks, *prediction.trunk]
    pairs = [(weight[:, :channels], shift)] + [p for block in blocks for p in block_convs(block)]
    convs = pack_convs(pairs, grid=grid)
    return Tower(grid, convs, len(trunk.step_blocks), action.ravel())


def by_action(planes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Planes [A, P, H, W] under a 3x3 convolution [C, P, 3, 3], framed by 0: [A, H, W, C]."""
    height, width = planes.shape[2:]
    framed = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(planes), height, width, len(weight)))
    for y in range(3):
        for x in range(3):
            seen = framed[..., y : y + height, x : x + width]
            out += np.einsum("aphw,cp->ahwc", seen, weight[..., y, x])
    return out


def _pack_prefix(network: EfficientZeroModel, trunk: PixelTrunk, grid: Grid) -> Prefix:
    scale, shift = folded(network.prefix_norm)
    return Prefix(
        _pack_squeeze([trunk.prefix_head], grid),
        pack_lstm(network.lstm, channels_last(network.config.head_channels, grid.pixels)),
        scale.astype(np.float32),
        shift.astype(np.float32),
        Mlp(
            _pack_normed(network.prefix_hidden[0], network.prefix_hidden[1], None),
            pack_module(network.prefix_output),
        ),
        bins_of(network.value_prefix_support),
    )


def _pack_prediction(
    prediction: PixelPrediction, support: Support, grid: Grid, config: ModelConfig
) -> Prediction:
    policy, value = prediction.policy_features, prediction.value_features
    inputs = channels_last(config.head_channels, grid.pixels)
    return Prediction(
        _pack_squeeze([policy, value], grid),
        _pack_head(prediction.policy, inputs),
        _pack_head(prediction.value, inputs),
        bins_of(support),
    )


def _pack_head(head: nn.Sequential, inputs: NDArray[np.int64]) -> Mlp:
    return Mlp(_pack_normed(head[0], head[1], inputs), pack_module(head[3]))


def _pack_normed(linear: nn.Module, norm: nn.Module, inputs: NDArray[np.int64] | None) -> Linear:
    """A linear layer with the batch norm behind it, its inputs reordered."""
    assert isinstance(linear, nn.Linear), linear
    scale, shift = folded(norm)
    weight = exact(linear.weight) * scale[:, None]
    if inputs is not None:
        weight = weight[:, inputs]
    bias = exact(linear.bias) * scale + shift
    return pack_linear(weight.T.astype(np.float32), bias.astype(np.float32))


def _pack_squeeze(heads: list[nn.Sequential], grid: Grid) -> Linear:
    """1x1 convolutions of one image, side by side, with the batch norms behind them."""
    weights, biases = [], []
    for conv, norm, *_ in heads:
        assert isinstance(conv, nn.Conv2d), conv
        assert conv.bias is not None, conv
        scale, shift = folded(norm)
        weights.append(exact(conv.weight)[:, :, 0, 0].T * scale)
        biases.append(exact(conv.bias) * scale + shift)
    bias = np.concatenate(biases).astype(np.float32)
    weight = np.zeros((grid.channels, len(bias)), np.float32)
    weight[: len(weights[0])] = np.concatenate(weights, axis=1)
    return pack_linear(weight, bias)


def channels_last(channels: int, pixels: int) -> NDArray[np.int64]:
    """[pixels * channels] i64: where torch's flattened images hold what ours hold in order."""
    order: NDArray[np.int64] = np.arange(channels * pixels).reshape(channels, pixels).T.ravel()
    return order

"""The pixel network's encoder as its compiled code reads it.

Axes: Q pixels of an output, C channels in whole vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rllib_ez.core.compiled.conv import Convs, Grid, grid_of, pack_convs
from rllib_ez.core.compiled.folding import Exact, block_convs, fold, shortcut_conv
from rllib_ez.core.compiled.layers import Linear, pack_linear
from rllib_ez.core.networks.pixel import PixelTrunk


class Strided(NamedTuple):
    """A 3x3 convolution of stride 2; maybe a second one of the same inputs, the shortcut."""

    pixels: int  # of an input image
    channels: int  # of an input image
    outputs: int  # channels of an output image
    sight: NDArray[np.int64]  # [Q, 9], where in it an output's pixels start
    linear: Linear  # [9 * C_in] to [C], or to [2 C] with the shortcut


class Level(NamedTuple):
    """What happens at one resolution: convolutions of stride 1."""

    grid: Grid
    convs: Convs


class Encoder(NamedTuple):
    """Frames to a latent, level by level. Every level ends in residual blocks."""

    stem: Strided  # its inputs' channels are those of all stacked frames
    half: Level
    narrowing: Strided  # with a shortcut
    quarter: Level  # its first convolution completes the narrowing block
    first_pool: NDArray[np.int64]  # [Q, 9], the pixels that an average sees
    eighth: Level
    second_pool: NDArray[np.int64]  # [Q, 9]; [0, 9] if there is none
    last: Level


def pack_encoder(trunk: PixelTrunk, frame_shape: tuple[int, ...], frame_stack: int) -> Encoder:
    """Copies the weights. Bytes are scaled to 1 by the stem's weights."""
    stem, stem_norm, _, half, narrowing, quarter, _, eighth, pool, last = trunk.encoder
    channels, height, width = trunk.latent_shape
    sides = [(frame_shape[0], frame_shape[1])]
    for _ in range(3):
        sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
    widths = (frame_shape[2] * frame_stack, channels // 2, channels, channels)
    grids = [grid_of(*side, wide) for side, wide in zip(sides, widths, strict=True)]
    pooled = isinstance(pool, nn.AvgPool2d)  # even 1 x 1 pixels: a mean with what is outside
    weight, bias = fold(stem, stem_norm)
    inside, completing = block_convs(narrowing)
    return Encoder(
        _pack_strided([(weight / 255, bias)], sides[0], grids[:2]),
        _pack_level(grids[1], half, []),
        _pack_strided([inside, shortcut_conv(narrowing)], sides[1], grids[1:3]),
        _pack_level(grids[2], quarter, [completing]),
        _sight(sides[2], grids[2]),
        _pack_level(grids[3], eighth, []),
        _sight(sides[3], grids[3])[: None if pooled else 0],
        _pack_level(grid_of(height, width, channels), last, []),
    )


def _pack_level(grid: Grid, blocks: nn.Module, before: list[tuple[Exact, Exact]]) -> Level:
    """The convolutions `before` and then the blocks'."""
    assert isinstance(blocks, nn.Sequential), blocks
    pairs = before + [pair for block in blocks for pair in block_convs(block)]
    return Level(grid, pack_convs(pairs, grid=grid))


def _pack_strided(
    pairs: list[tuple[Exact, Exact]], side: tuple[int, ...], grids: list[Grid]
) -> Strided:
    """Convolutions side by side, from images of grids[0] to those of grids[1]."""
    before, after = (grid.channels for grid in grids)
    weight = np.zeros((9, before, len(pairs), after), np.float32)
    bias = np.zeros((len(pairs), after), np.float32)
    for index, (conv, shift) in enumerate(pairs):
        outputs, inputs = conv.shape[:2]
        weight[:, :inputs, index, :outputs] = conv.transpose(2, 3, 1, 0).reshape(9, inputs, outputs)
        bias[index, :outputs] = shift
    linear = pack_linear(weight.reshape(9 * before, -1), bias.ravel())
    return Strided(grids[0].pixels, before, after, _sight(side, grids[0]), linear)


def _sight(side: tuple[int, ...], grid: Grid) -> NDArray[np.int64]:
    """Where in an image each output of a window of 3x3 and stride 2 finds its pixels, [Q, 9]."""
    height, width = side
    inside = np.pad(np.arange(grid.pixels).reshape(side), 1, constant_values=grid.pixels)
    corners = [(y, x) for y in range(0, height, 2) for x in range(0, width, 2)]
    windows = [inside[y : y + 3, x : x + 3].ravel() for y, x in corners]
    return np.array(windows) * grid.channels

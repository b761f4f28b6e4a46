"""The pixel network's encoder in compiled code: frames to a latent image.

Convolutions of stride 2 gather the nine pixels that each output sees and multiply once.
Axes: B images, L frame_stack, C channels in whole vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.conv import ConvWork, Grid, conv_work, convolve, images
from rllib_ez.core.compiled.lanes import LANES, load_vector, store_vector, where_less
from rllib_ez.core.compiled.layers import Array, copy, linear_rows, rows_for
from rllib_ez.core.compiled.pixel_encoder_weights import Encoder, Level, Strided
from rllib_ez.core.compiled.simd import aligned_zeros
from rllib_ez.core.search.lean import lean

PATCHES = 24  # outputs of a strided convolution worked on together
TOGETHER = 4  # images that go through all levels before the next: they stay in the cache


class Scene(NamedTuple):
    """Scratch for the images of one level."""

    x: Array  # images
    other: Array  # what is between two convolutions
    nothing: Array  # [0] f32: no residual
    conv: ConvWork


class EncoderWork(NamedTuple):
    """Scratch for a few images."""

    num_images: int  # that there is room for
    frames: Array  # images of the stacked frames
    patches: Array  # [PATCHES, >= 9 * C] f32
    products: Array  # [PATCHES, >= 2 * C] f32
    half: Scene
    quarter: Scene
    eighth: Scene
    last: Scene


def encoder_work(encoder: Encoder, batch: int) -> EncoderWork:
    """Scratch for encoding up to `batch` images, at most TOGETHER at a time."""
    count = min(batch, TOGETHER)
    stem, narrowing = encoder.stem.linear, encoder.narrowing.linear
    levels = (encoder.half, encoder.quarter, encoder.eighth, encoder.last)
    return EncoderWork(
        count,
        aligned_zeros((count * (encoder.stem.pixels + 2) * encoder.stem.channels,)),
        rows_for(PATCHES, max(stem.weight.shape[1], narrowing.weight.shape[1])),
        rows_for(PATCHES, max(len(stem.bias), len(narrowing.bias))),
        *(_scene(level.grid, count) for level in levels),
    )


def _scene(grid: Grid, count: int) -> Scene:
    nothing = np.zeros(0, np.float32)
    return Scene(images(grid, count), images(grid, count), nothing, conv_work(grid, count))


@lean
def read_frames(
    observation: NDArray[np.generic], first: int, count: int, stem: Strided, out: Array
) -> None:
    """Stacks frames [B, L, height, width, colours] as channels of images, from row `first` on."""
    _, frames, height, width, colours = observation.shape
    for image in range(count):
        start = image * (stem.pixels + 2) * stem.channels
        for y in range(height):
            for x in range(width):
                place = start + (y * width + x) * stem.channels
                for frame in range(frames):
                    for colour in range(colours):
                        seen = observation[first + image, frame, y, x, colour]
                        out[place + frame * colours + colour] = seen


@lean
def encode(encoder: Encoder, work: EncoderWork, count: int) -> None:
    """From work.frames to work.last.x, for `count` images, at most work.num_images."""
    half, quarter, eighth, last = work.half, work.quarter, work.eighth, work.last
    patches, products = work.patches, work.products
    _stride(encoder.stem, work.frames, patches, products, half.x, half.nothing, count)
    _blocks(encoder.half, 0, half, count)
    _stride(encoder.narrowing, half.x, patches, products, quarter.other, quarter.x, count)
    grid, convs = encoder.quarter
    convolve(convs, 0, grid, quarter.other, quarter.x, quarter.x, count, quarter.conv)
    _blocks(encoder.quarter, 1, quarter, count)
    _average(encoder.first_pool, grid, quarter.x, eighth.x, count)
    _blocks(encoder.eighth, 0, eighth, count)
    if len(encoder.second_pool) > 0:
        _average(encoder.second_pool, encoder.eighth.grid, eighth.x, last.x, count)
    else:
        copy(eighth.x, 0, last.x, 0, len(last.x))
    _blocks(encoder.last, 0, last, count)


@lean
def _blocks(level: Level, first: int, scene: Scene, count: int) -> None:
    """x through all residual blocks, whose convolutions start at `first`."""
    convs, grid, x, inside = level.convs, level.grid, scene.x, scene.other
    for layer in range(first, convs.weight.shape[0], 2):
        convolve(convs, layer, grid, x, scene.nothing, inside, count, scene.conv)
        convolve(convs, layer + 1, grid, inside, x, x, count, scene.conv)


@lean
def _stride(
    conv: Strided,
    x: Array,
    patches: Array,
    products: Array,
    out: Array,
    shortcut: Array,
    count: int,
) -> None:
    """out = relu(first convolution of x); shortcut, unless it is empty, = the second one."""
    outputs, channels, width = conv.sight.shape[0], conv.outputs, products.shape[1]
    for image in range(count):
        start, into = image * (conv.pixels + 2) * conv.channels, image * (outputs + 2)
        for first in range(0, outputs, PATCHES):
            some = min(PATCHES, outputs - first)
            _multiply_patches(conv, x, start, first, some, patches, products)
            for patch in range(some):
                place = (into + first + patch) * channels
                for i in range(0, channels, LANES):
                    value = load_vector(products, patch * width + i, LANES, 0.0)
                    store_vector(out, place + i, LANES, where_less(value, 0.0, 0.0, value))
                if len(shortcut) > 0:
                    copy(products, patch * width + channels, shortcut, place, channels)


@lean
def _multiply_patches(
    conv: Strided, x: Array, start: int, first: int, some: int, patches: Array, products: Array
) -> None:
    """Gathers what some outputs see and multiplies."""
    for patch in range(some):
        for tap in range(9):
            into = patch * patches.shape[1] + tap * conv.channels
            copy(x, start + conv.sight[first + patch, tap], patches, into, conv.channels)
    linear_rows(conv.linear, patches, products, some)


@lean
def _average(sight: NDArray[np.int64], before: Grid, x: Array, out: Array, count: int) -> None:
    """The mean over each window; what lies outside counts as 0."""
    outputs, channels = sight.shape[0], before.channels
    for image in range(count):
        start = image * (before.pixels + 2) * channels
        for pixel in range(outputs):
            place = (image * (outputs + 2) + pixel) * channels
            for i in range(0, channels, LANES):
                summed = load_vector(x, start + sight[pixel, 0] + i, LANES, 0.0)
                for tap in range(1, 9):
                    summed = summed + load_vector(x, start + sight[pixel, tap] + i, LANES, 0.0)
                store_vector(out, place + i, LANES, summed * (1 / 9))

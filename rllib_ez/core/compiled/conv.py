"""3x3 convolutions of small images in few multiplications, batch norm folded in.

An image is cut into tiles of size x size outputs, and `winograd` applied along both axes. The
products at each of a tile's points, summed over channels, are one matrix product for all tiles:
4 times fewer multiplications than without for size 4.
Axes: L layers, R tiles of an image, P = (size + 2)**2 points of a tile, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.lanes import LANES, load_vector, store_vector, where_less
from rllib_ez.core.compiled.simd import PANEL, aligned_zeros, matmul
from rllib_ez.core.compiled.winograd import (
    POINTS,
    Lines,
    filter_transform,
    inputs3,
    inputs4,
    outputs3,
    outputs4,
)
from rllib_ez.core.search.lean import lean

BLOCK = 24  # tiles worked on together: few enough for the cache, a multiple of matmul's 6 rows


class Grid(NamedTuple):
    """How an image lies in memory and is cut into tiles.

    An image is [pixels + 2, C] f32, channels last. The pixel behind the last is always 0, it
    stands for all outside; the one after takes what tiles write beyond the border.
    """

    size: int  # outputs of a tile along an axis: 3 or 4
    pixels: int  # height * width
    channels: int  # C
    reach: NDArray[np.int64]  # [R, (size + 2)**2], where a tile's inputs start in an image
    place: NDArray[np.int64]  # [R, size**2], where its outputs start


class Convs(NamedTuple):
    """L convolutions of one width."""

    weight: NDArray[np.float32]  # [L, P, panels, C, PANEL], the filters at each point, packed
    bias: NDArray[np.float32]  # [L, C]


class ConvWork(NamedTuple):
    """Room for one block of tiles. One for each thread."""

    images: int  # that a block holds
    tiles: Lines  # a tile's inputs at its points
    products: Lines  # the same times the filters


def grid_of(height: int, width: int, channels: int) -> Grid:
    """The grid with the fewest multiplications; `channels` are rounded up to whole vectors."""
    size = min(POINTS, key=lambda size: -(-height // size) * -(-width // size) * (size + 2) ** 2)
    channels = -(-channels // LANES) * LANES
    pixel = np.arange(height * width).reshape(height, width)
    tops, lefts = range(0, height, size), range(0, width, size)
    beyond = ((1, size + 1), (1, size + 1))
    inside = np.pad(pixel, beyond, constant_values=height * width)
    outside = np.pad(pixel, beyond, constant_values=height * width + 1)
    corners = [(top, left) for top in tops for left in lefts]
    reach = [inside[y : y + size + 2, x : x + size + 2].ravel() for y, x in corners]
    place = [outside[y + 1 : y + 1 + size, x + 1 : x + 1 + size].ravel() for y, x in corners]
    return Grid(
        size, height * width, channels, np.array(reach) * channels, np.array(place) * channels
    )


def images(grid: Grid, count: int) -> NDArray[np.float32]:
    """Room for so many images, flat, all 0."""
    return aligned_zeros((count * (grid.pixels + 2) * grid.channels,))


def conv_work(grid: Grid, batch: int) -> ConvWork:
    """Room for convolving up to `batch` images, a block at a time."""
    count = max(1, min(batch, BLOCK // len(grid.reach)))
    width = -(-grid.channels // PANEL) * PANEL
    rooms = (_points(grid, count, columns) for columns in (grid.channels, width))
    return ConvWork(count, *rooms)


def _points(grid: Grid, count: int, columns: int) -> Lines:
    """[P, count * R, columns], and a vector more from point to point.

    At a power of 2 the points would share cache lines.
    """
    points, stride = (grid.size + 2) ** 2, count * len(grid.reach) * columns + LANES
    return Lines(aligned_zeros((points * stride,)), np.arange(points) * stride)


def pack_convs(
    layers: list[tuple[NDArray[np.float64], NDArray[np.float64]]], *, grid: Grid
) -> Convs:
    """Transforms filters for `convolve`.

    Args:
        layers: L times weight [O, I, 3, 3] f64 and bias [O] f64; O, I at most grid.channels.
        grid: of the images.
    """
    transform = filter_transform(grid.size)
    both = np.kron(transform, transform)  # [P, 9]
    points, channels = len(both), grid.channels
    shape = (len(layers), points, -(-channels // PANEL), channels, PANEL)
    packed = aligned_zeros(shape)
    bias = np.zeros((len(layers), channels), np.float32)
    for layer, (weight, shift) in enumerate(layers):
        outputs, inputs = weight.shape[:2]
        at_points = both @ weight.transpose(2, 3, 1, 0).reshape(9, inputs * outputs)
        matrices = at_points.astype(np.float32).reshape(points, inputs, outputs)
        for panel in range(shape[2]):
            columns = matrices[:, :, panel * PANEL : (panel + 1) * PANEL]
            packed[layer, :, panel, :inputs, : columns.shape[2]] = columns
        bias[layer, :outputs] = shift
    return Convs(packed, bias)


@lean
def convolve(
    convs: Convs,
    layer: int,
    grid: Grid,
    x: NDArray[np.float32],
    residual: NDArray[np.float32],
    out: NDArray[np.float32],
    count: int,
    work: ConvWork,
) -> None:
    """out = relu(conv(x) + bias + residual) for `count` images.

    An image's bits depend on that image only.

    Args:
        convs: all layers.
        layer: which of them.
        grid: of the images.
        x: [B * (pixels + 2) * C] f32.
        residual: as x; or empty, and nothing is added.
        out: as x; may be x or residual itself.
        count: images, <= B.
        work: from `conv_work`.
    """
    for first in range(0, count, work.images):
        some = min(work.images, count - first)
        _enter(grid, x, first, some, work)
        _multiply(convs, layer, work, some * grid.reach.shape[0])
        _leave(convs.bias[layer], grid, residual, out, first, some, work)


@lean
def _enter(grid: Grid, x: NDArray[np.float32], first: int, count: int, work: ConvWork) -> None:
    """The tiles of some images at their points."""
    side, tiles = grid.size + 2, grid.reach.shape[0]
    for image in range(count):
        start = (first + image) * (grid.pixels + 2) * grid.channels
        for tile in range(tiles):
            source = Lines(x, grid.reach[tile])
            row = (image * tiles + tile) * grid.channels
            for channel in range(0, grid.channels, LANES):
                at, into = start + channel, row + channel
                for line in range(side):
                    if side == 6:
                        inputs4(source, at, work.tiles, into, line, side)
                    else:
                        inputs3(source, at, work.tiles, into, line, side)
                for line in range(side):
                    if side == 6:
                        inputs4(work.tiles, into, work.tiles, into, line * side, 1)
                    else:
                        inputs3(work.tiles, into, work.tiles, into, line * side, 1)


@lean
def _multiply(convs: Convs, layer: int, work: ConvWork, rows: int) -> None:
    """products[point, row] = tiles[point, row] @ weight[point]."""
    channels = convs.weight.shape[3]
    width = convs.weight.shape[2] * PANEL
    for point in range(convs.weight.shape[1]):
        x_start, start = work.tiles.places[point], work.products.places[point]
        work.products.x[start : start + rows * width] = 0.0
        weight = convs.weight[layer, point]
        matmul(work.tiles.x, x_start, channels, weight, work.products.x, start, width, rows)


@lean
def _leave(
    bias: NDArray[np.float32],
    grid: Grid,
    residual: NDArray[np.float32],
    out: NDArray[np.float32],
    first: int,
    count: int,
    work: ConvWork,
) -> None:
    """Back from points to pixels; bias, residual and ReLU on the way."""
    side, tiles = grid.size + 2, grid.reach.shape[0]
    width = -(-grid.channels // PANEL) * PANEL
    for image in range(count):
        start = (first + image) * (grid.pixels + 2) * grid.channels
        for tile in range(tiles):
            for channel in range(0, grid.channels, LANES):
                at = (image * tiles + tile) * width + channel
                for line in range(side):
                    if side == 6:
                        outputs4(work.products, at, line, side)
                    else:
                        outputs3(work.products, at, line, side)
                for line in range(grid.size):
                    if side == 6:
                        outputs4(work.products, at, line * side, 1)
                    else:
                        outputs3(work.products, at, line * side, 1)
                shift = load_vector(bias, channel, LANES, 0.0)
                for y in range(grid.size):
                    for x in range(grid.size):
                        place = start + channel + grid.place[tile, y * grid.size + x]
                        point = work.products.places[y * side + x]
                        value = load_vector(work.products.x, at + point, LANES, 0.0) + shift
                        if len(residual) > 0:
                            value = value + load_vector(residual, place, LANES, 0.0)
                        store_vector(out, place, LANES, where_less(value, 0.0, 0.0, value))

"""The pixel network's root and step in compiled code, for a batch of rows.

Images are channels last. Rows are ordered by slots, see `recurrent`; images, features and logits
stand by slot. Every number is a function of its own row.
Axes: B rows, N nodes, H x W pixels of the latent, C channels in whole vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.conv import ConvWork, conv_work, convolve, images
from rllib_ez.core.compiled.lanes import LANES, fma, load_vector, store_vector
from rllib_ez.core.compiled.layers import Array, copy
from rllib_ez.core.compiled.pixel_encoder import EncoderWork, encode, encoder_work, read_frames
from rllib_ez.core.compiled.pixel_heads import HeadWork, accumulate, head_work, judge
from rllib_ez.core.compiled.pixel_weights import Layout, PixelNet, Tower, pack_network
from rllib_ez.core.compiled.recurrent import Turn, fill_slots
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import Answer, Edge

__all__ = ["PixelNet", "PixelWork", "make_work", "pack_network", "root", "step"]


class Canvas(NamedTuple):
    """Images by slot, [B * (H * W + 2) * C] f32."""

    x: Array
    other: Array  # what is between two convolutions
    nothing: Array  # [0] f32: no residual
    conv: ConvWork


class PixelWork(NamedTuple):
    """Scratch of one thread."""

    canvas: Canvas
    heads: HeadWork
    encoder: EncoderWork


def make_work(net: PixelNet, batch: int) -> PixelWork:
    """Scratch for up to `batch` rows; no two threads may share it."""
    grid = net.tower.grid
    nothing = np.zeros(0, np.float32)
    canvas = Canvas(images(grid, batch), images(grid, batch), nothing, conv_work(grid, batch))
    return PixelWork(canvas, head_work(net, batch), encoder_work(net.encoder, batch))


@lean
def step(
    net: PixelNet, work: PixelWork, store: Store, node: int, count: int, edge: Edge, answer: Answer
) -> None:
    """Imagines one step in each of the first `count` trees.

    Equals `EfficientZeroModel.step`, softmax and `Support.expectation` but for rounding. Each
    row's numbers depend on its own edge only, to the bit.

    Args:
        net: the weights.
        work: scratch for at least `count` rows.
        store: read at edge.parent, written at `node`; latents are [H, W, channels], flat.
        node: index of the new nodes, another than any parent.
        count: rows, at most B.
        edge: parent, action and forget of each row.
        answer: rows 0 .. count - 1 are written.
    """
    tower, canvas, heads = net.tower, work.canvas, work.heads
    turn = fill_slots(heads.slots, store, node, count, edge)
    _act(tower.action, net.layout, canvas, heads.slots.row, store, edge, turn)
    convolve(tower.convs, 0, tower.grid, canvas.x, canvas.other, canvas.x, count, canvas.conv)
    _blocks(tower, 1, canvas, count)
    _keep(net.layout, canvas.x, heads.slots.row, store, turn)
    accumulate(net.prefix, net.layout, canvas.x, heads, store, edge, turn, answer.value_prefix)
    _blocks(tower, 1 + 2 * tower.num_blocks, canvas, count)
    judge(net.prediction, net.layout, canvas.x, heads, count, answer)


@lean
def root(
    net: PixelNet,
    work: PixelWork,
    observation: NDArray[np.generic],
    count: int,
    store: Store,
    answer: Answer,
) -> None:
    """Looks at the first `count` observations.

    Equals `EfficientZeroModel.root` but for rounding. Writes latent and memory (zeros) of node 0,
    prior and value of the answer; its value prefix is 0.

    Args:
        net: the weights.
        work: scratch for at least `count` rows.
        observation: [B, L, frame height, width, colours], uint8 or f32 in 0..255.
        count: rows, at most B.
        store: written at node 0.
        answer: rows 0 .. count - 1 are written.
    """
    tower, canvas, order = net.tower, work.canvas, work.heads.slots.row
    room, stride = work.encoder, (net.layout.pixels + 2) * net.layout.channels
    for first in range(0, count, room.num_images):
        some = min(room.num_images, count - first)
        read_frames(observation, first, some, net.encoder.stem, room.frames)
        encode(net.encoder, room, some)
        copy(room.last.x, 0, canvas.x, first * stride, some * stride)
    for row in range(count):
        order[row] = row
        answer.value_prefix[row] = 0.0
        store.memory[row, 0, :] = 0.0
    _keep(net.layout, canvas.x, order, store, Turn(0, count, 0))
    _blocks(tower, 1 + 2 * tower.num_blocks, canvas, count)
    judge(net.prediction, net.layout, canvas.x, work.heads, count, answer)


@lean
def _act(
    action: Array,
    layout: Layout,
    canvas: Canvas,
    order: NDArray[np.int64],
    store: Store,
    edge: Edge,
    turn: Turn,
) -> None:
    """Lays out the parents' latents in x, and what the first convolution adds to in `other`.

    That is the latent and the action planes' part of the convolution. Channels past those stored
    stay 0.
    """
    stride, width = (layout.pixels + 2) * layout.channels, store.latent.shape[1]
    for slot in range(turn.rows):
        row, start = order[slot], slot * stride
        source = (row * width + edge.parent[row]) * store.latent.shape[2]
        for pixel in range(layout.pixels):
            into = start + pixel * layout.channels
            copy(store.latent, source + pixel * layout.stored, canvas.x, into, layout.stored)
        size = layout.pixels * layout.channels
        for i in range(0, size, LANES):
            acted = fma(
                np.float32(1.0),
                load_vector(action, edge.action[row] * size + i, LANES, 0.0),
                load_vector(canvas.x, start + i, LANES, 0.0),
            )
            store_vector(canvas.other, start + i, LANES, acted)


@lean
def _keep(layout: Layout, x: Array, order: NDArray[np.int64], store: Store, turn: Turn) -> None:
    """Copies images to the latents of the new node."""
    for slot in range(turn.rows):
        place = (order[slot] * store.latent.shape[1] + turn.node) * store.latent.shape[2]
        for pixel in range(layout.pixels):
            start = (slot * (layout.pixels + 2) + pixel) * layout.channels
            copy(x, start, store.latent, place + pixel * layout.stored, layout.stored)


@lean
def _blocks(tower: Tower, first: int, canvas: Canvas, rows: int) -> None:
    """x through residual blocks, whose convolutions start at `first`."""
    convs, grid, x, inside = tower.convs, tower.grid, canvas.x, canvas.other
    for layer in range(first, first + 2 * tower.num_blocks, 2):
        convolve(convs, layer, grid, x, canvas.nothing, inside, rows, canvas.conv)
        convolve(convs, layer + 1, grid, inside, x, x, rows, canvas.conv)

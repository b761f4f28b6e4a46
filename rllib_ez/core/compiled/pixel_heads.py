"""What the pixel network's heads make of latent images: value prefix, value and prior.

Axes: B rows by slot, H x W pixels, C channels in whole vectors, G head_channels, M lstm_size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.lanes import LANES, fma, load_vector, store_vector, where_less
from rllib_ez.core.compiled.layers import Array, Bins, Linear, copy, linear_rows, rows_for
from rllib_ez.core.compiled.pixel_weights import Layout, Mlp, PixelNet, Prediction, Prefix
from rllib_ez.core.compiled.recurrent import Slots, Turn, make_slots, remember_rows
from rllib_ez.core.compiled.simd import expectation, matmul, softmax
from rllib_ez.core.compiled.sparse import rectified_rows
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import Answer, Edge


class HeadWork(NamedTuple):
    """Scratch of one thread, by slot; widths of rows are whole panels."""

    slots: Slots
    used: NDArray[np.int64]  # the longest row's indices
    squeezed: Array  # [H * W, >= 2 G] f32, one image's features
    features: Array  # [B, >= H * W * G] f32
    value_features: Array  # the same
    hidden: Array  # [B, ...] f32
    logits: Array  # [B, ...] f32


def head_work(net: PixelNet, batch: int) -> HeadWork:
    """Scratch for up to `batch` rows."""
    inputs, memory = net.prefix.lstm.inputs.weight.shape[1], len(net.prefix.scale)
    mlps = (net.prefix.mlp, net.prediction.policy, net.prediction.value)
    return HeadWork(
        make_slots(batch, memory),
        used=np.zeros(max(inputs, memory), np.int64),
        squeezed=rows_for(net.layout.pixels, 2 * net.layout.squeezed),
        features=rows_for(batch, max(inputs, memory)),
        value_features=rows_for(batch, inputs),
        hidden=rows_for(batch, max(len(mlp.hidden.bias) for mlp in mlps)),
        logits=rows_for(batch, max(len(mlp.output.bias) for mlp in mlps)),
    )


@lean
def accumulate(
    prefix: Prefix,
    layout: Layout,
    x: Array,
    work: HeadWork,
    store: Store,
    edge: Edge,
    turn: Turn,
    value_prefix: Array,
) -> None:
    """Shows the LSTM the new latents; says the rewards summed so far."""
    features, order = work.features, work.slots.row
    for slot in range(turn.rows):
        _squeeze(prefix.squeeze, layout, x, slot, work.squeezed)
        _flatten(work.squeezed, 0, layout, features, slot)
    rectified_rows(prefix.lstm.inputs, features, work.slots.gates, turn.rows, work.used)
    remember_rows(prefix.lstm, work.slots, store, edge, turn)
    size, width = len(prefix.scale), store.memory.shape[1]
    for slot in range(turn.rows):
        memory = (order[slot] * width + turn.node) * 2 * size
        out = slot * features.shape[1]
        for i in range(0, size, LANES):
            h = load_vector(store.memory, memory + i, size - i, 0.0)
            scale = load_vector(prefix.scale, i, size - i, 0.0)
            normed = fma(h, scale, load_vector(prefix.shift, i, size - i, 0.0))
            store_vector(features, out + i, size - i, where_less(normed, 0.0, 0.0, normed))
    _mlp(prefix.mlp, features, turn.rows, work.hidden, work.logits, work.used)
    _expect(prefix.bins, work.logits, order, turn.rows, value_prefix)


@lean
def judge(
    prediction: Prediction, layout: Layout, x: Array, work: HeadWork, rows: int, answer: Answer
) -> None:
    """Value and prior of images that went through prediction's blocks."""
    order, logits, used = work.slots.row, work.logits, work.used
    for slot in range(rows):
        _squeeze(prediction.squeeze, layout, x, slot, work.squeezed)
        _flatten(work.squeezed, 0, layout, work.features, slot)
        _flatten(work.squeezed, layout.squeezed, layout, work.value_features, slot)
    _mlp(prediction.policy, work.features, rows, work.hidden, logits, used)
    actions = answer.prior.shape[1]
    for slot in range(rows):
        softmax(logits, slot * logits.shape[1], actions, answer.prior, order[slot] * actions)
    _mlp(prediction.value, work.value_features, rows, work.hidden, logits, used)
    _expect(prediction.bins, logits, order, rows, answer.value)


@lean
def _squeeze(squeeze: Linear, layout: Layout, x: Array, slot: int, out: Array) -> None:
    """The channels of the image in a slot, mixed at each pixel."""
    for pixel in range(layout.pixels):
        copy(squeeze.bias, 0, out, pixel * out.shape[1], len(squeeze.bias))
    start, width = slot * (layout.pixels + 2) * layout.channels, out.shape[1]
    matmul(x, start, layout.channels, squeeze.weight, out, 0, width, layout.pixels)


@lean
def _flatten(squeezed: Array, first: int, layout: Layout, out: Array, slot: int) -> None:
    """relu of G columns from `first` on, pixel after pixel, into a slot's features."""
    size, start = layout.squeezed, slot * out.shape[1]
    for pixel in range(layout.pixels):
        source, into = pixel * squeezed.shape[1] + first, start + pixel * size
        for i in range(0, size, LANES):
            value = load_vector(squeezed, source + i, size - i, 0.0)
            store_vector(out, into + i, size - i, where_less(value, 0.0, 0.0, value))


@lean
def _mlp(
    mlp: Mlp, x: Array, rows: int, hidden: Array, logits: Array, used: NDArray[np.int64]
) -> None:
    """Logits of features x >= 0."""
    rectified_rows(mlp.hidden, x, hidden, rows, used)
    for i in range(0, rows * hidden.shape[1], LANES):
        value = load_vector(hidden, i, LANES, 0.0)
        store_vector(hidden, i, LANES, where_less(value, 0.0, 0.0, value))
    linear_rows(mlp.output, hidden, logits, rows)


@lean
def _expect(bins: Bins, logits: Array, order: NDArray[np.int64], rows: int, out: Array) -> None:
    """The mean of the bins under softmax(logits), by row."""
    for slot in range(rows):
        mean = expectation(logits, slot * logits.shape[1], bins.num_bins, bins.size)
        out[order[slot]] = mean

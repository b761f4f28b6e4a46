"""The vector network's root and step in compiled code, for a batch of rows.

Rows that keep their memory are worked on first: a slot is a row's place in that order, and the
LSTM multiplies what it remembers for those slots only. Every number is a function of its own row.
Axes: B rows, N nodes, D hidden_size, M lstm_size, A actions, S bins.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rllib_ez.core.compiled.lanes import LANES, load_vector, store_vector
from rllib_ez.core.compiled.layers import (
    Array,
    copy,
    layer_rows,
    linear_rows,
    normalise,
    rows_for,
)
from rllib_ez.core.compiled.recurrent import Slots, Turn, fill_slots, make_slots, remember_rows
from rllib_ez.core.compiled.simd import expectation, matmul, softmax
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.compiled.vector_weights import (
    Encoder,
    Prediction,
    Prefix,
    Transition,
    VectorNet,
    pack_network,
)
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import Answer, Edge

__all__ = ["VectorNet", "VectorWork", "make_work", "pack_network", "root", "step"]

NO_FLOOR = -math.inf  # a layer norm without a ReLU


class VectorWork(NamedTuple):
    """Scratch of one thread, rows by slot; widths are whole panels."""

    slots: Slots
    latent: Array  # [B, ...] f32
    narrow: Array  # [B, ...] f32, as wide as any hidden layer
    other: Array  # [B, ...] f32, the same
    logits: Array  # [B, ...] f32


def make_work(net: VectorNet, batch: int) -> VectorWork:
    """Scratch for up to `batch` rows; no two threads may share it."""
    inputs = net.encoder.first.linear.weight.shape[1]
    hidden, memory = len(net.transition.norm.scale), len(net.prefix.norm.scale)
    narrow = max(inputs, hidden, memory, len(net.prefix.hidden.norm.scale))
    logits = max(len(net.prefix.output.bias), len(net.prediction.heads.bias))
    return VectorWork(
        slots=make_slots(batch, memory),
        latent=rows_for(batch, hidden),
        narrow=rows_for(batch, narrow),
        other=rows_for(batch, narrow),
        logits=rows_for(batch, logits),
    )


@lean
def step(
    net: VectorNet,
    work: VectorWork,
    store: Store,
    node: int,
    count: int,
    edge: Edge,
    answer: Answer,
) -> None:
    """Imagines one step in each of the first `count` trees.

    Equals `EfficientZeroModel.step`, softmax and `Support.expectation` but for rounding. Each
    row's numbers depend on its own edge only, to the bit.

    Args:
        net: the weights.
        work: scratch for at least `count` rows.
        store: read at edge.parent, written at `node`.
        node: index of the new nodes, another than any parent.
        count: rows, at most B.
        edge: parent, action and forget of each row.
        answer: rows 0 .. count - 1 are written.
    """
    turn = fill_slots(work.slots, store, node, count, edge)
    _gather(net.transition.action, work, store, edge, turn)
    _move(net.transition, work, store, turn)
    _accumulate(net.prefix, work, store, edge, turn, answer)
    _predict(net.prediction, work, turn, answer)


@lean
def root(
    net: VectorNet, work: VectorWork, observation: Array, count: int, store: Store, answer: Answer
) -> None:
    """Looks at the first `count` observations.

    Equals `EfficientZeroModel.root` but for rounding. Writes latent and memory (zeros) of node 0,
    prior and value of the answer; its value prefix is 0.

    Args:
        net: the weights.
        work: scratch for at least `count` rows.
        observation: [B, inputs] f32, the stacked frames [L, D] in a row.
        count: rows, at most B.
        store: written at node 0.
        answer: rows 0 .. count - 1 are written.
    """
    for row in range(count):
        work.slots.row[row] = row
        answer.value_prefix[row] = 0.0
        store.memory[row, 0, :] = 0.0
    turn = Turn(0, count, 0)
    _encode(net.encoder, observation, work, store, turn)
    _predict(net.prediction, work, turn, answer)


@lean
def _encode(
    encoder: Encoder, observation: Array, work: VectorWork, store: Store, turn: Turn
) -> None:
    """The observations' latents: two layers, the second without a ReLU."""
    x, hidden, latent = work.narrow, work.other, work.latent
    for row in range(turn.rows):
        _read(encoder.scale, observation, row, x)
    layer_rows(encoder.first, x, hidden, turn.rows)
    linear_rows(encoder.second.linear, hidden, x, turn.rows)
    for row in range(turn.rows):
        start, out = row * x.shape[1], row * latent.shape[1]
        normalise(encoder.second.norm, x, start, latent, out, NO_FLOOR)
        copy(latent, out, store.latent, _index(store.latent, row, 0), store.latent.shape[2])


@lean
def _read(scale: Array, observation: Array, row: int, out: Array) -> None:
    """The observation times `scale`, or its symlog: sign(x) * log(1 + |x|)."""
    for i in range(observation.shape[1]):
        x = observation[row, i]
        if len(scale) > 0:
            out[row, i] = x * scale[i]
        else:
            out[row, i] = math.copysign(math.log1p(abs(x)), x)


@lean
def _index(array: Array, row: int, node: int) -> int:
    """Where array[row, node] starts, as if the array [B, N, ...] were flat."""
    return int((row * array.shape[1] + node) * array.shape[2])


@lean
def _gather(action: Array, work: VectorWork, store: Store, edge: Edge, turn: Turn) -> None:
    """Puts next to each other what the slots start from: latents, and the action's bias."""
    latent, width = store.latent, action.shape[1]
    for slot in range(turn.rows):
        row = work.slots.row[slot]
        start, out = _index(latent, row, edge.parent[row]), slot * work.latent.shape[1]
        copy(latent, start, work.latent, out, latent.shape[2])
        copy(action, edge.action[row] * width, work.narrow, slot * work.narrow.shape[1], width)


@lean
def _move(transition: Transition, work: VectorWork, store: Store, turn: Turn) -> None:
    """latent <- norm(latent + second(relu(first_norm(first(latent, action)))))."""
    latent, hidden, change = work.latent, work.narrow, work.other
    weight, size, count = transition.weight, store.latent.shape[2], turn.rows
    matmul(latent, 0, latent.shape[1], weight, hidden, 0, hidden.shape[1], count)
    for slot in range(count):
        start = slot * hidden.shape[1]
        normalise(transition.first_norm, hidden, start, hidden, start, 0.0)
    linear_rows(transition.second, hidden, change, count)
    for slot in range(count):
        out, start = slot * latent.shape[1], slot * change.shape[1]
        for i in range(0, size, LANES):
            before = load_vector(latent, out + i, size - i, 0.0)
            after = before + load_vector(change, start + i, size - i, 0.0)
            store_vector(change, start + i, size - i, after)
        normalise(transition.norm, change, start, latent, out, NO_FLOOR)
        place = _index(store.latent, work.slots.row[slot], turn.node)
        copy(latent, out, store.latent, place, size)


@lean
def _accumulate(
    prefix: Prefix, work: VectorWork, store: Store, edge: Edge, turn: Turn, answer: Answer
) -> None:
    """Shows the LSTM the new latents; says the rewards summed so far."""
    count, logits = turn.rows, work.logits
    linear_rows(prefix.lstm.inputs, work.latent, work.slots.gates, count)
    remember_rows(prefix.lstm, work.slots, store, edge, turn)
    for slot in range(count):
        start = _index(store.memory, work.slots.row[slot], turn.node)
        normalise(prefix.norm, store.memory, start, work.narrow, slot * work.narrow.shape[1], 0.0)
    layer_rows(prefix.hidden, work.narrow, work.other, count)
    linear_rows(prefix.output, work.other, logits, count)
    for slot in range(count):
        start = slot * logits.shape[1]
        mean = expectation(logits, start, prefix.bins.num_bins, prefix.bins.size)
        answer.value_prefix[work.slots.row[slot]] = mean


@lean
def _predict(prediction: Prediction, work: VectorWork, turn: Turn, answer: Answer) -> None:
    """Value and prior of work's latents."""
    logits, bins, actions = work.logits, prediction.bins, prediction.num_actions
    layer_rows(prediction.trunk, work.latent, work.narrow, turn.rows)
    linear_rows(prediction.heads, work.narrow, logits, turn.rows)
    for slot in range(turn.rows):
        row, start = work.slots.row[slot], slot * logits.shape[1]
        answer.value[row] = expectation(logits, start, bins.num_bins, bins.size)
        softmax(logits, start + bins.num_bins, actions, answer.prior, row * actions)

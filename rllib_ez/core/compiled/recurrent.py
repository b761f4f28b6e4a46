"""An LSTM in compiled code, for rows of which some forget what they remember.

Rows that keep their memory are worked on first: a slot is a row's place in that order, and what is
remembered is multiplied for those slots only. A row that forgets would add 0 times a weight.
Axes: B rows, N nodes, F inputs, M lstm_size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rllib_ez.core.compiled.elementary import vector_sigmoid, vector_tanh
from rllib_ez.core.compiled.lanes import LANES, fma, load_vector, store_vector
from rllib_ez.core.compiled.layers import Array, Linear, copy, numbers, pack_linear, rows_for
from rllib_ez.core.compiled.simd import matmul, pack
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import Edge


class Lstm(NamedTuple):
    """The weights of one layer."""

    inputs: Linear  # [F] to [4 M], the gates i, f, g, o; both of its biases in one
    memory: Array  # [P, M, PANEL] f32, from h to the gates


class Turn(NamedTuple):
    """One call of a network's step or root."""

    node: int  # what it imagines
    rows: int  # worked on, those in the first slots
    remembering: int  # slots, the first ones, whose memory counts


class Slots(NamedTuple):
    """Which row stands where, and what the LSTM makes of it."""

    row: NDArray[np.int64]  # [B] i64, the row in each slot
    recalled: Array  # [B, >= M] f32, h of the slots that remember
    gates: Array  # [B, >= 4 M] f32


def make_slots(batch: int, lstm_size: int) -> Slots:
    """Scratch for up to `batch` rows."""
    gates = rows_for(batch, 4 * lstm_size)
    return Slots(np.zeros(batch, np.int64), rows_for(batch, lstm_size), gates)


def pack_lstm(lstm: nn.LSTM, inputs: NDArray[np.int64]) -> Lstm:
    """Copies the weights; input i of the compiled form is input inputs[i] of torch's, [F] i64."""
    bias = numbers(lstm.bias_ih_l0) + numbers(lstm.bias_hh_l0)
    weight = numbers(lstm.weight_ih_l0)[:, inputs]
    return Lstm(pack_linear(weight.T, bias), pack(numbers(lstm.weight_hh_l0).T))


@lean
def fill_slots(slots: Slots, store: Store, node: int, rows: int, edge: Edge) -> Turn:
    """Orders the rows and copies what they remember."""
    remembering, last = 0, rows
    size = store.memory.shape[2] // 2
    for row in range(rows):
        if edge.forget[row]:
            last -= 1
            slots.row[last] = row
        else:
            slots.row[remembering] = row
            start = (row * store.memory.shape[1] + edge.parent[row]) * 2 * size
            copy(store.memory, start, slots.recalled, remembering * slots.recalled.shape[1], size)
            remembering += 1
    return Turn(node, rows, remembering)


@lean
def remember_rows(lstm: Lstm, slots: Slots, store: Store, edge: Edge, turn: Turn) -> None:
    """Keeps the LSTM's memory under the new node; its inputs' share stands in `slots.gates`."""
    gates, recalled, size = slots.gates, slots.recalled, store.memory.shape[2]
    width = gates.shape[1]
    matmul(recalled, 0, recalled.shape[1], lstm.memory, gates, 0, width, turn.remembering)
    for slot in range(turn.rows):
        first = slots.row[slot] * store.memory.shape[1]
        before, after = ((first + edge.parent[slots.row[slot]]) * size, (first + turn.node) * size)
        known = size // 2 if slot < turn.remembering else 0
        _cell(gates, slot * width, store.memory, before, after, known)


@lean
def _cell(gates: Array, start: int, memory: Array, before: int, after: int, known: int) -> None:
    """c <- sigmoid(f) c + sigmoid(i) tanh(g), h <- sigmoid(o) tanh(c); c counts as 0 past known."""
    size = memory.shape[2] // 2
    for i in range(0, size, LANES):
        left = size - i
        write = vector_sigmoid(load_vector(gates, start + i, left, 0.0))
        keep = vector_sigmoid(load_vector(gates, start + size + i, left, 0.0))
        news = vector_tanh(load_vector(gates, start + 2 * size + i, left, 0.0))
        show = vector_sigmoid(load_vector(gates, start + 3 * size + i, left, 0.0))
        cell = fma(keep, load_vector(memory, before + size + i, known - i, 0.0), write * news)
        store_vector(memory, after + size + i, left, cell)
        store_vector(memory, after + i, left, show * vector_tanh(cell))

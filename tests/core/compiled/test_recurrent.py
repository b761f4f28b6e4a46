"""The compiled LSTM beside torch's, with rows that forget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rllib_ez.core.compiled.layers import linear_rows, rows_for
from rllib_ez.core.compiled.recurrent import fill_slots, make_slots, pack_lstm, remember_rows
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.tree import Edge

INPUTS, SIZE, NODES = 7, 19, 4


def stepped(forget: list[bool], *, inputs: np.ndarray | None = None) -> tuple[Store, np.ndarray]:
    """One step of every row from node 1 to node 3; also what torch makes of it, [B, 2 * SIZE]."""
    rng, batch = np.random.default_rng(5), len(forget)
    torch.manual_seed(2)
    lstm = nn.LSTM(INPUTS, SIZE, batch_first=True)
    x = rng.standard_normal((batch, INPUTS)).astype(np.float32)
    store = Store.make(batch, NODES, latent=1, memory=SIZE)
    store.memory[:] = rng.standard_normal(store.memory.shape)
    edge = Edge(np.ones(batch, np.int32), np.zeros(batch, np.int64), np.array(forget))
    kept = np.where(np.array(forget)[:, None], 0, store.memory[:, 1]).astype(np.float32)
    h, c = (torch.from_numpy(half)[None] for half in np.split(kept, 2, axis=1))
    with torch.no_grad():
        _, (h, c) = lstm(torch.from_numpy(x)[:, None], (h.contiguous(), c.contiguous()))
    slots, features = make_slots(batch, SIZE), rows_for(batch, INPUTS)
    slots.recalled.fill(np.nan)  # what an earlier search left behind is not read
    packed = pack_lstm(lstm, np.arange(INPUTS))
    turn = fill_slots(slots, store, 3, batch, edge)
    features[:, :INPUTS] = x[slots.row]
    linear_rows(packed.inputs, features, slots.gates, batch)
    remember_rows(packed, slots, store, edge, turn)
    return store, torch.cat((h[0], c[0]), dim=1).numpy()


@pytest.mark.parametrize(
    "forget", [[False] * 5, [True] * 5, [True, False, True, False, False], [True]]
)
def test_it_remembers_what_torchs_does(forget: list[bool]):
    store, expected = stepped(forget)
    np.testing.assert_allclose(store.memory[:, 3], expected, rtol=1e-5, atol=1e-6)


def test_other_nodes_are_left_alone():
    store, _ = stepped([True, False])
    rng = np.random.default_rng(5)
    rng.standard_normal((2, INPUTS))
    before = rng.standard_normal(store.memory.shape).astype(np.float32)
    np.testing.assert_array_equal(store.memory[:, :3], before[:, :3])


def test_rows_that_remember_come_first_and_each_row_once():
    slots, store = make_slots(4, SIZE), Store.make(4, NODES, latent=1, memory=SIZE)
    edge = Edge(np.zeros(4, np.int32), np.zeros(4, np.int64), np.array([True, False, True, False]))
    turn = fill_slots(slots, store, 2, 4, edge)
    assert (turn.node, turn.rows, turn.remembering) == (2, 4, 2)
    assert slots.row[:2].tolist() == [1, 3]
    assert sorted(slots.row.tolist()) == [0, 1, 2, 3]


def test_inputs_may_come_in_another_order():
    torch.manual_seed(0)
    lstm, order = nn.LSTM(3, 2), np.array([2, 0, 1])
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    plain, turned = pack_lstm(lstm, np.arange(3)), pack_lstm(lstm, order)
    out = [rows_for(1, 8), rows_for(1, 8)]
    for packed, inputs, gates in ((plain, x, out[0]), (turned, x[:, order], out[1])):
        padded = rows_for(1, 3)
        padded[:, :3] = inputs
        linear_rows(packed.inputs, padded, gates, 1)
    np.testing.assert_allclose(out[0], out[1], rtol=1e-6)

"""A search's network calls without its tree: what no search with this network can beat.

Axes: B roots, D numbers of a latent.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.grow import step
from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import ROOT, Answer, Edge

Latents = NDArray[np.float32]


def run_chain(model: CompiledModel, latent: Latents, num_simulations: int) -> Latents:
    """Imagines so many steps on from each root latent [B, D], each from the one before.

    Node n is reached from row b by action (b + n) % A. Uses as many threads as a search does.

    Returns:
        [B, D], the last latents.
    """
    rows = model.parts(np.full(len(latent), num_simulations))
    if len(rows) == 1:
        return _run_rows(model, latent, rows[0], num_simulations)
    with ThreadPoolExecutor(len(rows)) as threads:
        parts = threads.map(lambda part: _run_rows(model, latent, part, num_simulations), rows)
        return np.concatenate(list(parts))


def _run_rows(model: CompiledModel, latent: Latents, rows: slice, num_simulations: int) -> Latents:
    batch, actions = rows.stop - rows.start, model.network.config.num_actions
    store = Store.make(
        batch, num_simulations + 1, latent=model.latent_size, memory=model.memory_size
    )
    store.latent[:, ROOT] = latent[rows]
    work = model.kind.make_work(model.net, batch)
    _chain(model.net, work, store, Edge.blank(batch), Answer.blank(batch, actions), rows.start)
    return store.latent[:, -1]


@lean
def _chain(net: Any, work: Any, store: Store, edge: Edge, answer: Answer, first_row: int) -> None:
    batch, actions = answer.prior.shape
    for node in range(1, store.latent.shape[1]):
        for row in range(batch):
            edge.parent[row] = node - 1
            edge.action[row] = (first_row + row + node) % actions
        step(net, work, store, node, batch, edge, answer)

"""The network as compiled code, in the place of `InferenceModel` on a CPU: the fast one.

Axes: B roots, L frame_stack, N nodes, D numbers of a latent.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.compiled import pixel, vector
from rllib_ez.core.compiled.grow import run_search
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search.estimates import RootEstimate
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, Answer, Rules, Tree
from rllib_ez.core.types import Array

KINDS = {"vector": vector, "pixel": pixel}
WORTH_A_THREAD = 2e7  # multiplications: about 0.2 ms of one core


class CompiledModel:
    """Says what `InferenceModel` says, to about 1e-5, and runs whole searches without Python.

    A row's result is a function of that row alone, bit for bit: neither the batch it stands in
    nor the number of threads (torch's, when the search starts) changes it.
    """

    def __init__(self, network: EfficientZeroModel) -> None:
        self.reference = InferenceModel(network)
        self.network = network
        self.kind = KINDS[network.config.network]  # the module for this kind of network
        self.memory_size = self.reference.memory_size
        self.latent_size = math.prod(network.trunk.latent_shape)
        self.cost = multiplications_per_step(network)
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()  # scratch of each thread
        self.refresh()

    @classmethod
    def blank(cls, config: ModelConfig) -> CompiledModel:
        """A model that waits for `load`; making it does not move torch's global RNG."""
        return cls(InferenceModel.blank(config).network)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over weights, by value; the SimSiam parts may be missing.

        Raises:
            RuntimeError: a name or a shape does not fit the network.
        """
        self.reference.load(weights)
        self.refresh()

    def refresh(self) -> None:
        """Takes over what the network's weights are now."""
        self.net = self.kind.pack_network(self.network)

    def root(self, observation: Array) -> RootEstimate:
        """Looks at real observations [B, L, *frame]."""
        batch = len(observation)
        nodes = self._nodes(batch, 1)
        answer = Answer.blank(batch, self.network.config.num_actions)
        self.kind.root(
            self.net, self._work(batch), self._as_input(observation), batch, nodes, answer
        )
        return RootEstimate(torch.from_numpy(nodes.latent[:, 0]), answer.prior, answer.value)

    def run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool = False
    ) -> Conclusion:
        """Grows the planted trees from root latents [B, D] and concludes.

        The trees grow in place: they are there afterwards, whatever `keep_tree` says.
        """
        search = partial(self._run_rows, latent.numpy(), tree, rules, plan)
        first, *others = self.parts(plan.budget)
        if not others:
            return search(first)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(thread_name_prefix="search")
        waiting = [self._threads.submit(search, rows) for rows in others]
        concluded = [search(first), *(part.result() for part in waiting)]
        return Conclusion(*(np.concatenate(arrays) for arrays in zip(*concluded, strict=True)))

    def _run_rows(
        self, latent: np.ndarray, tree: Tree, rules: Rules, plan: Plan, rows: slice
    ) -> Conclusion:
        """The search of some rows; releases the GIL."""
        tree = Tree(*(array[rows] for array in tree))
        plan = Plan(*(array[rows] for array in plan))
        batch, num_nodes = tree.visits.shape
        nodes = self._nodes(batch, num_nodes)
        nodes.latent[:, ROOT] = latent[rows]
        nodes.memory[:, ROOT] = 0
        return run_search(self.net, self._work(batch), nodes, tree, rules, plan)

    def parts(self, budget: np.ndarray) -> list[slice]:
        """Consecutive rows for each thread, alike in work."""
        done = np.cumsum(budget)
        worth = int(done[-1] * self.cost / WORTH_A_THREAD)
        parts = max(1, min(torch.get_num_threads(), len(budget), worth))
        ends = np.searchsorted(done, done[-1] * np.arange(1, parts) / parts) + 1
        edges = [0, *ends.tolist(), len(budget)]
        pairs = zip(edges[:-1], edges[1:], strict=True)
        return [slice(start, end) for start, end in pairs if end > start]

    def _as_input(self, observation: Array) -> np.ndarray:
        if self.network.config.network == "vector":
            flat = observation.reshape(len(observation), -1)
            return np.ascontiguousarray(flat, np.float32)
        return np.ascontiguousarray(observation)

    def _nodes(self, batch: int, num_nodes: int) -> Store:
        return Store(
            np.empty((batch, num_nodes, self.latent_size), np.float32),
            np.empty((batch, num_nodes, 2 * self.memory_size), np.float32),
        )

    def _work(self, batch: int) -> Any:
        """This thread's scratch, kept for the next search."""
        if getattr(self._local, "rows", 0) < batch:
            self._local.work = self.kind.make_work(self.net, batch)
            self._local.rows = batch
        return self._local.work


def multiplications_per_step(network: EfficientZeroModel) -> int:
    """How many one row of one imagined step takes."""
    pixels = math.prod(network.trunk.latent_shape[1:])
    unused = ("trunk.encoder.", "projector.", "predictor.")
    weights = [p for name, p in network.named_parameters() if not name.startswith(unused)]
    return sum(p.numel() * (pixels if p.dim() == 4 else 1) for p in weights if p.dim() > 1)

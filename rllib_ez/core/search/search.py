"""One batched search: B roots, `num_simulations` imagined steps each, all roots in step.

Axes: B roots, N = num_simulations + 1 nodes, A actions, M lstm_size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import RootEstimate, SearchModel
from rllib_ez.core.random import dirichlet
from rllib_ez.core.search.kernels import expand_and_backup, root_visit_counts
from rllib_ez.core.search.methods import Gumbel, Method, Puct
from rllib_ez.core.search.tree import ROOT, Rules, Tree
from rllib_ez.core.types import SearchResult


def search(
    model: SearchModel,
    root: RootEstimate,
    *,
    config: SearchConfig,
    seeds: NDArray[np.uint64],
    legal: NDArray[np.bool_] | None = None,
    root_noise: bool,
) -> SearchResult:
    """Searches each root with EfficientZero's value prefix, by PUCT or by Gumbel.

    Row b of the result is a function of row b of the arguments alone.

    Args:
        model: imagines steps.
        root: the network's view of the B roots.
        config: how hard to search, and how.
        seeds: [B] u64, for root noise and ties.
        legal: [B, A] bool, at least one per row; None: all are.
        root_noise: explore: Dirichlet noise in the root's prior (PUCT), Gumbel noise (Gumbel).

    Returns:
        The visit counts and what follows from them.

    Raises:
        ValueError: a root without a legal action.
    """
    if legal is None:
        legal = np.ones(root.prior.shape, np.bool_)
    if not legal.any(axis=1).all():
        row = int(np.argmin(legal.any(axis=1)))
        raise ValueError(f"legal must allow at least one action per root, got none in row {row}")
    by_puct = config.search_method == "puct"
    noise = root_noise and by_puct
    prior = root_prior(root.prior, legal, config=config, seeds=seeds, noise=noise)
    nodes = config.num_simulations + 1
    tree = Tree.plant(prior, root.value, legal=legal, seed=seeds, nodes=nodes)
    rules = Rules.of(config)
    method: Method = Puct(tree, rules)
    if not by_puct:
        method = Gumbel(tree, rules, config=config, noise=root_noise)
    simulate(model, tree, rules, root=root, method=method)
    counts = root_visit_counts(tree.child, tree.visits)
    action, policy = method.conclude(counts)
    # The root value is the mean over the network's own value and every backed-up return.
    return SearchResult(
        action=action,
        policy=policy,
        visit_counts=counts,
        visit_probs=(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32),
        root_value=(tree.value_sum[:, ROOT] / tree.visits[:, ROOT]).astype(np.float32),
        network_value=root.value,
    )


def root_prior(
    prior: np.ndarray, legal: np.ndarray, *, config: SearchConfig, seeds: np.ndarray, noise: bool
) -> np.ndarray:
    """The network's policy [B, A] over legal actions, with Dirichlet noise where asked for.

    P(a) = (1 - fraction) * policy(a) + fraction * Dirichlet(alpha)(a)
    """
    masked = np.where(legal, prior, 0).astype(np.float64)
    total = masked.sum(axis=1, keepdims=True)
    uniform = legal / legal.sum(axis=1, keepdims=True)
    masked = np.where(total > 0, masked / np.where(total > 0, total, 1), uniform)
    if noise:
        drawn = dirichlet(seeds, legal, config.root_dirichlet_alpha)
        fraction = config.root_noise_fraction
        masked = (1 - fraction) * masked + fraction * drawn
    return masked.astype(np.float32)


def simulate(
    model: SearchModel, tree: Tree, rules: Rules, *, root: RootEstimate, method: Method
) -> None:
    """Grows every tree to its N nodes, one network call per simulation."""
    batch, nodes = tree.visits.shape
    device = root.latent.device
    rows = np.arange(batch)
    latents = torch.empty((nodes, *root.latent.shape), device=device)
    memories = torch.zeros((2, nodes, batch, model.memory_size), device=device)
    latents[ROOT] = root.latent
    flat_latents, flat_memories = latents.flatten(0, 1), memories.flatten(1, 2)
    parent, action = edge = np.zeros(batch, np.int32), np.zeros(batch, np.int64)
    for node in range(1, nodes):
        method.select(node - 1, parent, action)
        index = torch.from_numpy(parent.astype(np.int64) * batch + rows).to(device)
        # The LSTM forgets where the prefix starts anew: at parents whose depth is a multiple.
        kept = tree.depth[rows, parent] % rules.lstm_horizon != 0
        memory = flat_memories.index_select(1, index)
        memory *= torch.from_numpy(kept).to(device)[None, :, None]
        out = model.step(flat_latents.index_select(0, index), memory, torch.from_numpy(action))
        latents[node] = out.latent
        memories[:, node] = out.memory
        expand_and_backup(tree, rules, node, edge, (out.prior, out.value_prefix, out.value))


def sample_actions(
    visit_counts: np.ndarray, *, temperature: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws actions with probability proportional to visits**(1 / temperature).

    Args:
        visit_counts: [B, A] i32.
        temperature: > 0.
        rng: moves on by B numbers.

    Returns:
        [B] i64.
    """
    weights = (visit_counts / visit_counts.max(axis=1, keepdims=True)) ** (1 / temperature)
    edges = np.cumsum(weights, axis=1)
    draws = rng.random(len(weights)) * edges[:, -1]
    return np.asarray((edges <= draws[:, None]).sum(axis=1))

"""One batched search: B roots, each with its budget of imagined steps, all roots in step.

Axes: B roots, N nodes (the largest budget + 1), A actions, M lstm_size.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import kernels
from rllib_ez.core.search.estimates import RootEstimate, StepModel, WholeSearch
from rllib_ez.core.search.plan import Conclusion, Plan, root_prior
from rllib_ez.core.search.trace import read_trace
from rllib_ez.core.search.tree import ROOT, Answer, Edge, Rules, Tree
from rllib_ez.core.types import SearchResult


def search(
    model: StepModel | WholeSearch,
    root: RootEstimate,
    *,
    config: SearchConfig,
    seeds: NDArray[np.uint64],
    legal: NDArray[np.bool_] | None = None,
    num_simulations: NDArray[np.integer] | None = None,
    root_noise: bool,
    trace: bool = False,
) -> SearchResult:
    """Searches each root with EfficientZero's value prefix, by PUCT or by Gumbel.

    Row b of the result is a function of row b of the arguments alone.

    Args:
        model: imagines steps.
        root: the network's view of the B roots.
        config: how hard to search, and how.
        seeds: [B] u64, for root noise and ties.
        legal: [B, A] bool, at least one per row; None: all are.
        num_simulations: [B] integers >= 1, the budget of each root; None: the config's.
        root_noise: explore: Dirichlet noise in the root's prior (PUCT), Gumbel noise (Gumbel).
        trace: tell the roots' Q values and principal variations too.

    Returns:
        The visit counts and what follows from them.

    Raises:
        ValueError: a root that is not finite, without a legal action, or with a budget below 1; a
            shape that does not fit.
    """
    _check_finite(root)
    if seeds.shape != root.value.shape:
        raise ValueError(f"seeds must hold one per root, {root.value.shape}, got {seeds.shape}")
    legal = _checked_legal(legal, root.prior.shape)
    budget = _checked_budget(num_simulations, len(seeds), config)
    order = None
    if num_simulations is not None and (budget[1:] > budget[:-1]).any():
        order = np.argsort(-budget, kind="stable")  # roots that are done drop off at the end
        root, seeds, legal, budget = _reordered(root, order, seeds, legal, budget)
    dirichlet = root_noise and config.search_method == "puct"
    prior = root_prior(root.prior, legal, config=config, seeds=seeds, noise=dirichlet)
    plan = Plan.of(config, prior, budget=budget, legal=legal, seed=seeds, noise=root_noise)
    rules = Rules.of(config, num_simulations=int(budget[0]))
    tree = Tree.plant(prior, root.value, nodes=int(budget[0]) + 1)
    if isinstance(model, WholeSearch):
        # Only a model that is asked for its tree needs to know how to keep it.
        run = partial(model.run, keep_tree=True) if trace else model.run
        out = run(root.latent, tree, rules, plan)
    else:
        out = run_stepwise(model, root.latent, tree, rules, plan)
    result = SearchResult(
        action=out.action,
        policy=out.policy,
        visit_counts=out.visit_counts,
        visit_probs=(out.visit_counts / budget[:, None]).astype(np.float32),
        root_value=out.root_value,
        network_value=root.value,
        trace=read_trace(tree, out.action) if trace else None,
    )
    return result if order is None else result.rows(np.argsort(order))


def run_stepwise(
    model: StepModel, latent: Tensor, tree: Tree, rules: Rules, plan: Plan
) -> Conclusion:
    """Grows the trees with one call of `model.step` per simulation, and concludes."""
    batch, nodes, actions = tree.child.shape
    rows = np.arange(batch)
    latents = torch.empty((nodes, *latent.shape), device=latent.device)
    memories = torch.zeros((2, nodes, batch, model.memory_size), device=latent.device)
    latents[ROOT] = latent
    flat_latents, flat_memories = latents.flatten(0, 1), memories.flatten(1, 2)
    edge = Edge.blank(batch)
    for node in range(1, nodes):
        count = int((plan.budget >= node).sum())  # a prefix, since budgets fall
        kernels.select(tree, rules, plan, edge, node - 1, count)
        index = edge.parent[:count].astype(np.int64) * batch + rows[:count]
        where = torch.from_numpy(index).to(latent.device)
        memory = flat_memories.index_select(1, where)
        memory *= torch.from_numpy(~edge.forget[:count]).to(latent.device)[None, :, None]
        action = torch.from_numpy(edge.action[:count])
        out = model.step(flat_latents.index_select(0, where), memory, action)
        latents[node, :count] = out.latent
        memories[:, node, :count] = out.memory
        answer = Answer(out.prior, out.value_prefix, out.value)
        kernels.expand_and_backup(tree, rules, edge, answer, node, count)
    conclusion = Conclusion.blank(batch, actions)
    kernels.conclude(tree, rules, plan, conclusion)
    return conclusion


def _check_finite(root: RootEstimate) -> None:
    for name, numbers in (("prior", root.prior), ("value", root.value)):
        finite = np.isfinite(numbers)
        if not finite.all():
            first = tuple(np.argwhere(~finite)[0])
            raise ValueError(
                f"root {name} must be finite, got {numbers[first]} in row {first[0]}: "
                "the network has diverged"
            )


def _checked_legal(legal: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if legal is None:
        return np.ones(shape, np.bool_)
    if legal.shape != shape:
        raise ValueError(f"legal must have the shape [B, A] = {shape}, got {legal.shape}")
    allowed = legal.any(axis=1)
    if not allowed.all():
        row = int(np.argmin(allowed))
        raise ValueError(f"legal must allow at least one action per root, got none in row {row}")
    return legal


def _checked_budget(budget: np.ndarray | None, batch: int, config: SearchConfig) -> np.ndarray:
    if budget is None:
        return np.full(batch, config.num_simulations, np.int32)
    if not np.issubdtype(budget.dtype, np.integer):
        raise ValueError(f"num_simulations must be integers, got dtype {budget.dtype}")
    if budget.shape != (batch,):
        raise ValueError(
            f"num_simulations must hold one number per root, [{batch}], got {budget.shape}"
        )
    if budget.min() < 1:
        row = int(np.argmin(budget))
        raise ValueError(f"num_simulations must be >= 1, got {budget[row]} in row {row}")
    return budget.astype(np.int32)


def _reordered(
    root: RootEstimate, order: np.ndarray, *arrays: np.ndarray
) -> tuple[RootEstimate, np.ndarray, np.ndarray, np.ndarray]:
    index = torch.from_numpy(order).to(root.latent.device)
    moved = RootEstimate(root.latent[index], root.prior[order], root.value[order])
    seeds, legal, budget = (array[order] for array in arrays)
    return moved, seeds, legal, budget


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

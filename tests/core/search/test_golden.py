"""Our trees are those of DeepMind's mctx, node by node.

`tests/golden/make_mctx_trees.py` wrote the trees and says under which rules; docs/search.md tells
where the two differ. Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import Tensor

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import StepEstimate
from rllib_ez.core.search.plan import Conclusion, Plan, root_prior
from rllib_ez.core.search.search import run_stepwise
from rllib_ez.core.search.tree import ROOT, Rules, Tree

from .worlds import TableModel, World

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "mctx_trees.json").read_text())
SETS = list(dict.fromkeys(case["set"] for case in GOLDEN["cases"]))


class Pair(NamedTuple):
    """What was grown here, and what mctx grew."""

    tree: Tree
    out: Conclusion
    mctx: dict[str, Any]


class BentModel(TableModel):
    """Its value prefix is a bent sum of rewards: where the sum starts anew makes a difference."""

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        said = super().step(latent, memory, action)
        total = said.value_prefix
        return replace(said, value_prefix=total + total * total / np.float32(16))


def world_of(tables: dict[str, Any]) -> World:
    """The whole numbers of the file as the fractions they stand for."""
    scale = {"next_state": 1, "reward": 64, "prior": 1024, "value": 64}
    numbers = {name: np.array(tables[name]) / scale[name] for name in scale}
    next_state = numbers.pop("next_state").astype(np.int64)
    return World(next_state, **{name: table.astype(np.float32) for name, table in numbers.items()})


def grow(case: dict[str, Any]) -> Pair:
    """Our search of a case, with mctx's noise."""
    names = "num_simulations max_considered_actions lstm_horizon min_max_delta gumbel_c_scale"
    settings = {name: case[name] for name in names.split()} | GOLDEN["shared"]
    config = SearchConfig(search_method=case["method"], **settings)
    world, batch = world_of(GOLDEN["worlds"][case["world"]]), len(case["roots"])
    root, legal = world.root(case["roots"]), np.array(case["legal"], bool)
    budget, seed = np.full(batch, config.num_simulations, np.int32), np.zeros(batch, np.uint64)
    prior = root_prior(root.prior, legal, config=config, seeds=seed, noise=False)
    plan = Plan.of(config, prior, budget=budget, legal=legal, seed=seed, noise=False)
    plan = plan._replace(gumbel=plan.gumbel + np.array(case["mctx"].get("noise", 0.0)))
    tree = Tree.plant(prior, root.value, nodes=config.num_simulations + 1)
    rules = Rules.of(config, num_simulations=config.num_simulations)
    model = BentModel(world) if case["curved"] else TableModel(world)
    return Pair(tree, run_stepwise(model, root.latent, tree, rules, plan), case["mctx"])


@cache
def pairs(name: str) -> list[Pair]:
    """Both sides of every case of a set."""
    return [grow(case) for case in GOLDEN["cases"] if case["set"] == name]


def compare(
    name: str, ours: Callable[[Pair], np.ndarray], theirs: Callable[[Pair], Any], *, rtol: float = 0
) -> None:
    """All numbers of a set at once, so that a failure says how many of them differ."""
    mine = np.concatenate([np.ravel(ours(pair)) for pair in pairs(name)])
    other = np.concatenate([np.ravel(theirs(pair)) for pair in pairs(name)])
    agree = np.isclose(mine, other, rtol=rtol, atol=rtol).sum()
    print(f"{name}: {agree} of {len(other)} numbers agree in {len(pairs(name))} cases")
    np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)


def children_index(pair: Pair) -> np.ndarray:
    """mctx's `children_index` [B, N, A] from each node's parent and action."""
    parent = np.array(pair.mctx["parent"])
    index = np.full(pair.tree.child.shape, -1)
    for row, node in np.ndindex(parent.shape):
        index[row, parent[row, node], pair.mctx["action_from_parent"][row][node]] = node + 1
    return index


def mean_values(pair: Pair) -> np.ndarray:
    """[B, N]."""
    return pair.tree.value_sum / pair.tree.visits


@pytest.mark.parametrize("name", SETS)
def test_every_node_hangs_where_mctx_has_it(name: str):
    compare(name, lambda pair: pair.tree.child, children_index)


@pytest.mark.parametrize("name", SETS)
def test_every_node_is_visited_as_often(name: str):
    compare(name, lambda pair: pair.tree.visits, lambda pair: pair.mctx["visits"])


@pytest.mark.parametrize("name", SETS)
def test_every_node_has_the_same_mean_value(name: str):
    compare(name, mean_values, lambda pair: pair.mctx["value"], rtol=2e-8)


@pytest.mark.parametrize("name", SETS)
def test_the_root_value_is_mctxs(name: str):
    compare(
        name,
        lambda pair: pair.out.root_value,
        lambda pair: [row[ROOT] for row in pair.mctx["value"]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", SETS)
def test_root_actions_are_tried_as_often(name: str):
    compare(name, lambda pair: pair.out.visit_counts, lambda pair: pair.mctx["root_visits"])


@pytest.mark.parametrize("name", SETS)
def test_the_policy_to_teach_is_mctxs_action_weights(name: str):
    compare(name, lambda pair: pair.out.policy, lambda pair: pair.mctx["policy"], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("gumbel")])
def test_gumbel_plays_mctxs_action(name: str):
    compare(name, lambda pair: pair.out.action, lambda pair: pair.mctx["action"])

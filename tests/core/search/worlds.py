"""Worlds written down as tables, and the model that reads them: no network, no rounding to hide in.

Axes: S states, A actions, B roots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.compiled.grow import run_search
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.compiled.table import TableNet, TableWork
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import RootEstimate, StepEstimate
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.search import run_stepwise
from rllib_ez.core.search.tree import Rules, Tree
from rllib_ez.core.types import SearchResult


@dataclass(frozen=True)
class World:
    """A deterministic world with what a network might think of it."""

    next_state: np.ndarray  # [S, A] i64
    reward: np.ndarray  # [S, A] f32
    prior: np.ndarray  # [S, A] f32
    value: np.ndarray  # [S] f32

    @classmethod
    def of(cls, next_state: list, reward: list, prior: list, value: list) -> World:
        """A world from nested lists."""
        numbers = (np.array(table, np.float32) for table in (reward, prior, value))
        return cls(np.array(next_state), *numbers)

    def root(self, states: list[int] | np.ndarray) -> RootEstimate:
        """What the model says of these root states [B]."""
        index = np.asarray(states)
        latent = torch.from_numpy(index.astype(np.float32))[:, None]
        return RootEstimate(latent, self.prior[index], self.value[index])


class TableModel:
    """Looks states up. Its memory sums rewards until someone zeroes it: so does an ideal LSTM."""

    memory_size = 1

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # state, memory, action

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        """The latent [B, 1] is the state's number; the memory's h is the sum, c its negative."""
        world, state = self.world, latent[:, 0].long().numpy()
        before = memory[0, :, 0].numpy()
        assert (memory[1, :, 0].numpy() == -before).all()
        self.asked.append((state, before.copy(), action.numpy().copy()))
        prefix = before + world.reward[state, action.numpy()]  # f32
        after = world.next_state[state, action.numpy()]
        return StepEstimate(
            latent=torch.from_numpy(after.astype(np.float32))[:, None],
            memory=torch.from_numpy(np.stack((prefix, -prefix)))[..., None],
            prior=world.prior[after],
            value=world.value[after],
            value_prefix=prefix,
        )


class CompiledTable:
    """The same tables as a network of compiled search."""

    def __init__(self, world: World) -> None:
        self.net = TableNet(world.next_state, world.reward, world.prior, world.value)

    def run(self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan) -> Conclusion:
        """Grows planted trees whose roots are the states in `latent` [B, 1]."""
        batch, nodes = tree.visits.shape
        store = Store.make(batch, nodes, latent=1, memory=1)
        store.latent[:, 0] = latent.numpy()
        return run_search(self.net, TableWork(batch), store, tree, rules, plan)


def random_world(
    rng: np.random.Generator, *, num_states: int, num_actions: int, num_levels: int | None
) -> World:
    """Random tables; with few levels many numbers are equal, so that scores tie."""
    size = (num_states, num_actions)
    reward, value = rng.standard_normal(size) * 2, rng.standard_normal(num_states) * 5
    prior = rng.dirichlet(np.ones(num_actions), num_states)
    if num_levels is not None:
        reward = rng.integers(num_levels, size=size) / 2
        value = rng.integers(num_levels, size=num_states).astype(float)
        favoured = np.eye(num_actions)[rng.integers(num_actions, size=num_states)]
        prior = np.where(rng.random((num_states, 1)) < 0.2, favoured, 1 / num_actions)
    tables = (table.astype(np.float32) for table in (reward, prior, value))
    return World(rng.integers(num_states, size=size), *tables)


def grown(world: World, state: int, model: TableModel | None = None, **settings) -> Tree:
    """The tree of one root after all its simulations."""
    config = SearchConfig(**settings)
    root = world.root([state])
    budget = np.array([config.num_simulations], np.int32)
    legal, seed = np.ones(root.prior.shape, bool), np.array([1], np.uint64)
    tree = Tree.plant(root.prior, root.value, nodes=config.num_simulations + 1)
    run_stepwise(
        model or TableModel(world),
        root.latent,
        tree,
        Rules.of(config, num_simulations=config.num_simulations),
        Plan.of(config, root.prior, budget=budget, legal=legal, seed=seed, noise=False),
    )
    return tree


def searched(world: World, states, **settings) -> SearchResult:
    """Searches roots whose seeds are 0, 1, 2... unless told otherwise; `budget` [B]: one each."""
    model = settings.pop("model", None) or TableModel(world)
    others = {name: settings.pop(name, None) for name in ("legal", "budget")}
    seeds = settings.pop("seeds", np.arange(len(states), dtype=np.uint64))
    root_noise = settings.pop("root_noise", False)
    return search(
        model,
        world.root(states),
        config=SearchConfig(**settings),
        seeds=seeds,
        legal=others["legal"],
        num_simulations=others["budget"],
        root_noise=root_noise,
    )

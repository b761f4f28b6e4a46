"""Each bug of `planted.py` makes a search disagree with its slow twin, on a few small worlds.

Axes: B roots, A actions.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.random import dirichlet
from rllib_ez.core.search.plan import gumbel_noise
from rllib_ez.core.types import SearchResult
from tests.core.search.plain_copies import Bug, CompiledSearch, PlainSearch, bent
from tests.core.search.planted import BUGS
from tests.core.search.twin import GumbelTwin, Node, Twin, visits_of
from tests.core.search.worlds import World, random_world

NUM_CASES = 60  # PUCT and Gumbel in turn
NUM_STATES = 7


class Case(NamedTuple):
    """B roots to search in one world."""

    world: World
    states: np.ndarray  # [B] i64
    arguments: dict[str, Any]  # of `PlainSearch.search`


class Expected(NamedTuple):
    """What the slow twin says of one root."""

    visit_counts: list[int]  # [A]
    root_value: np.float32
    action: int
    policy: list[float]  # [A]


@cache
def case(number: int) -> Case:
    """Random tables, laws, budgets and settings."""
    rng = np.random.default_rng(number)
    num_actions, batch = int(rng.integers(2, 7)), 4
    num_levels = (None, 1, 3)[number // 2 % 3]  # without levels, zeros, few levels
    world = random_world(rng, num_states=NUM_STATES, num_actions=num_actions, num_levels=num_levels)
    legal = rng.random((batch, num_actions)) < 0.7
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    settings = {
        "search_method": ("puct", "gumbel")[number % 2],
        "lstm_horizon": int(rng.integers(1, 5)),
        "discount": float(rng.choice([1.0, 0.9, 0.5])),
        "pb_c_init": float(rng.choice([0.3, 1.25])),
        "pb_c_base": float(rng.choice([10.0, 19652.0])),
        "min_max_delta": float(rng.choice([0.01, 3.0])),
        "max_considered_actions": int(rng.integers(2, 7)),
        "gumbel_c_scale": float(rng.choice([0.01, 0.1])),
    }
    arguments = {
        "settings": settings,
        "seeds": rng.integers(2**64, size=batch, dtype=np.uint64),
        "legal": legal,
        "num_simulations": rng.choice([1, 2, 7, 18, 25], size=batch),  # some alike
        "root_noise": number // 6 % 2 == 1,
    }
    return Case(world, rng.integers(NUM_STATES, size=batch), arguments)


class _Bent:
    """A twin that expects the model to be a `BentTable`."""

    def expand(self, node: Node, action: int, *, number: int) -> Node:
        """As `Twin`, whose prefix is the plain sum."""
        child = super().expand(node, action, number=number)
        starts_anew = node.depth % self.config.lstm_horizon == 0
        child.prefix = float(bent(np.float32(child.memory)))
        child.reward = child.prefix - (0.0 if starts_anew else node.prefix)
        return child


class BentTwin(_Bent, Twin):
    """PUCT's."""


class BentGumbelTwin(_Bent, GumbelTwin):
    """Gumbel's."""


@cache
def expected(number: int, whole: bool) -> list[Expected]:
    """What the twins say of each root of a case; the compiled loop's model is not bent."""
    world, states, arguments = case(number)
    seeds, legal, noise = (arguments[name] for name in ("seeds", "legal", "root_noise"))
    settings = arguments["settings"]
    gumbel = gumbel_noise(seeds, legal.shape[1]) * noise
    drawn = dirichlet(seeds, legal, SearchConfig().root_dirichlet_alpha)
    said = []
    for b, budget in enumerate(arguments["num_simulations"].tolist()):
        config = SearchConfig(**settings, num_simulations=budget)
        about = world, config, int(seeds[b]), legal[b].tolist()
        if config.search_method == "gumbel":
            kind = GumbelTwin if whole else BentGumbelTwin
            said.append(said_by_gumbel(kind(*about, gumbel=gumbel[b].tolist()), states[b]))
        else:
            kind = Twin if whole else BentTwin
            said.append(said_by_puct(kind(*about, drawn[b].tolist() if noise else None), states[b]))
    return said


def said_by_puct(twin: Twin, state: int) -> Expected:
    root = twin.search(int(state))
    counts = [visits_of(root, action) for action in range(len(twin.legal))]
    policy = [count / twin.config.num_simulations for count in counts]
    value = np.float32(root.value_sum / root.visits)
    return Expected(counts, value, counts.index(max(counts)), policy)


def said_by_gumbel(twin: GumbelTwin, state: int) -> Expected:
    root = twin.search(int(state))
    counts = [visits_of(root, action) for action in range(len(twin.legal))]
    return Expected(counts, np.float32(root.value_sum / root.visits), *twin.conclusion())


def agrees(number: int, engine: PlainSearch | CompiledSearch, *, whole: bool) -> bool:
    """Whether a search of a case gives what the twins say."""
    world, states, arguments = case(number)
    run = engine.whole_search if whole else engine.search
    result = run(world, states, **arguments)
    rows = zip(expected(number, whole), range(len(states)), strict=True)
    return all(row_agrees(said, result, row, ~arguments["legal"][row]) for said, row in rows)


def row_agrees(said: Expected, result: SearchResult, row: int, illegal: np.ndarray) -> bool:
    visits = np.array(said.visit_counts)
    return bool(
        (result.visit_counts[row] == visits).all()
        and result.root_value[row] == said.root_value
        and result.action[row] == said.action
        and np.allclose(result.policy[row], said.policy, rtol=1e-5, atol=1e-7)
        and (result.policy[row, illegal] == 0).all()
        and (result.visit_probs[row] == (visits / visits.sum()).astype(np.float32)).all()
    )


@pytest.mark.parametrize("whole", [False, True], ids=["stepwise", "whole"])
@pytest.mark.parametrize("engine", [PlainSearch, CompiledSearch])
def test_without_a_bug_all_cases_agree_with_the_twins(engine: type, whole: bool):
    """Else a disagreement would say nothing; and the bugs not planted are those not there."""
    search = engine()
    assert [n for n in range(NUM_CASES) if not agrees(n, search, whole=whole)] == []


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_caught(bug: Bug):
    plain = PlainSearch(bug)
    whole = bug.file == "grow"
    assert not all(agrees(number, plain, whole=whole) for number in range(NUM_CASES))


def test_a_bug_whose_text_is_gone_is_refused():
    with pytest.raises(AssertionError, match="gone: 'no such text' stands 0 times in nodes.py"):
        PlainSearch(Bug("gone", "nodes", "no such text", "x"))


def test_a_bug_whose_text_stands_twice_is_refused():
    with pytest.raises(AssertionError, match="twice: 'return' stands [0-9]+ times in nodes.py"):
        PlainSearch(Bug("twice", "nodes", "return", "x"))

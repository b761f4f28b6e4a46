"""What a search tells of Q and of the way on: by hand, beside a slow twin, in every engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import RootEstimate
from rllib_ez.core.search.trace import read_trace
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Tree
from rllib_ez.core.types import SearchResult, SearchTrace
from tests.core.search.test_by_hand import BY_HAND, FAR
from tests.core.search.worlds import CompiledTable, TableModel, random_world, searched
from tests.core.test_networks import VECTOR, made, observations

METHODS = pytest.mark.parametrize("method", ["puct", "gumbel"])


def tree_of(*trees: list[tuple[int, int, int]], actions: int = 2) -> Tree:
    """Trees whose node i + 1 is (parent, action, visits)[i]; its Q is i + 0.5."""
    prior = np.full((len(trees), actions), 1 / actions, np.float32)
    tree = Tree.plant(prior, np.zeros(len(trees)), nodes=max(map(len, trees)) + 1)
    for row, edges in enumerate(trees):
        for node, (parent, action, visits) in enumerate(edges, start=1):
            tree.child[row, parent, action] = node
            tree.visits[row, node] = visits
            tree.q[row, node] = node - 0.5
    return tree


def slow_trace(tree: Tree, action: np.ndarray) -> tuple[list[list[float]], list[list[int]]]:
    """Q values, and variations without their padding."""
    q, variations = [], []
    for row, first in enumerate(action.tolist()):
        tried = tree.child[row, ROOT].tolist()
        q.append([np.nan if child == UNEXPANDED else tree.q[row, child] for child in tried])
        variations.append([first, *slow_way_on(tree, row, tried[first])])
    return q, variations


def slow_way_on(tree: Tree, row: int, node: int) -> list[int]:
    edges = [(a, c) for a, c in enumerate(tree.child[row, node].tolist()) if c != UNEXPANDED]
    if not edges:
        return []
    most = max(tree.visits[row, child] for _, child in edges)
    action, child = next(edge for edge in edges if tree.visits[row, edge[1]] == most)
    return [action, *slow_way_on(tree, row, child)]


def assert_as_slow(trace: SearchTrace, tree: Tree, action: np.ndarray) -> None:
    q, variations = slow_trace(tree, action)
    longest = max(map(len, variations))
    padded = [way + [-1] * (longest - len(way)) for way in variations]
    assert trace.q.tobytes() == np.array(q, np.float32).tobytes()
    assert trace.principal_variation.tolist() == padded
    assert trace.principal_variation.dtype == np.int32


class KeptTable(CompiledTable):
    """Remembers the trees of its last search, which grow in place."""

    def run(self, latent, tree, rules, plan, *, keep_tree=False):
        self.tree = tree
        return super().run(latent, tree, rules, plan)


def traced(model, root, *, legal=None, budget=None, seeds=None, **settings) -> SearchResult:
    """Searches roots with noise, whose seeds are 0, 1, 2... unless told otherwise."""
    return search(
        model,
        root,
        config=SearchConfig(**settings),
        seeds=np.arange(len(root.value), dtype=np.uint64) if seeds is None else seeds,
        legal=legal,
        num_simulations=budget,
        root_noise=True,
        trace=True,
    )


def assert_same(ours: SearchTrace | None, expected: SearchTrace | None) -> None:
    """Bit for bit, the padding included."""
    assert ours is not None
    assert expected is not None
    assert ours.principal_variation.tolist() == expected.principal_variation.tolist()
    assert ours.q.tobytes() == expected.q.tobytes()


def test_a_variation_is_the_chosen_action_and_then_the_most_visited():
    """The root's action is Gumbel's or a mask's choice: here the one visited less."""
    tree = tree_of([(0, 0, 5), (0, 1, 4), (2, 0, 1), (2, 1, 2), (4, 0, 1), (1, 1, 4)])
    trace = read_trace(tree, np.array([1]))
    assert trace.principal_variation.tolist() == [[1, 1, 0]]
    assert trace.q.tolist() == [[0.5, 1.5]]


def test_of_equally_visited_children_the_lower_action_is_followed():
    """Whichever was expanded first."""
    tree = tree_of([(0, 0, 3), (1, 2, 1), (1, 1, 1)], actions=3)
    assert read_trace(tree, np.array([0])).principal_variation.tolist() == [[0, 1]]


def test_actions_never_tried_have_no_q():
    trace = read_trace(tree_of([(0, 1, 1)], actions=3), np.array([1]))
    np.testing.assert_array_equal(trace.q, np.array([[np.nan, 0.5, np.nan]], np.float32))
    assert trace.q.dtype == np.float32


def test_shorter_variations_are_filled_up_to_the_longest():
    tree = tree_of([(0, 1, 1)], [(0, 0, 3), (1, 1, 2), (2, 0, 1)], [(0, 0, 2), (1, 0, 1)])
    trace = read_trace(tree, np.array([1, 0, 0]))
    assert trace.principal_variation.tolist() == [[1, -1, -1], [0, 1, 0], [0, 0, -1]]


def test_an_action_never_tried_is_a_variation_by_itself():
    """So it is where a root has no budget. Node -1 would be the last one: here it has a child."""
    trace = read_trace(tree_of([], [(2, 0, 1), (0, 1, 2)]), np.array([1, 0]))
    assert trace.principal_variation.tolist() == [[1], [0]]
    np.testing.assert_array_equal(trace.q, [[np.nan, np.nan], [np.nan, 1.5]])


def test_the_trace_of_the_tree_by_hand():
    """The fourth simulation of `test_by_hand`: Q = 1 + 0.5 * 9 / 3 and 0 + 0.5 * 2."""
    rules = {"num_simulations": 4, "discount": 0.5, "pb_c_init": 1.0, "pb_c_base": FAR}
    trace = traced(KeptTable(BY_HAND), BY_HAND.root([0]), root_noise_fraction=0.0, **rules).trace
    assert trace is not None
    assert trace.q.tolist() == [[2.5, 1.0]]
    assert trace.principal_variation.tolist() == [[0, 1, 0]]


def random_tree(rng: np.random.Generator, batch: int, nodes: int, actions: int) -> Tree:
    """Few different visits, hence ties; some root actions are illegal: never tried."""
    trees: list[list[tuple[int, int, int]]] = []
    for _ in range(batch):
        free = [(ROOT, a) for a in range(actions) if a == 0 or rng.random() < 0.6]
        edges = []
        for node in range(1, int(rng.integers(2, nodes + 1))):
            parent, action = free.pop(int(rng.integers(len(free))))
            edges.append((parent, action, int(rng.integers(1, 4))))
            free += [(node, a) for a in range(actions)]
        trees.append(edges)
    return tree_of(*trees, actions=actions)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 5),
    nodes=st.integers(2, 30),
    actions=st.integers(1, 5),
)
def test_random_trees_are_read_as_by_the_slow_twin(seed, batch, nodes, actions):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, batch, nodes, actions)
    chosen = rng.integers(actions, size=batch)
    tried = tree.child[np.arange(batch), ROOT, chosen] != UNEXPANDED
    chosen[~tried] = (tree.child[~tried, ROOT] != UNEXPANDED).argmax(axis=1)
    assert_as_slow(read_trace(tree, chosen), tree, chosen)


SEARCHES = given(
    seed=st.integers(0, 2**32),
    num_actions=st.integers(1, 6),
    batch=st.integers(1, 5),
    num_levels=st.sampled_from([None, 1, 3]),
    rules=st.fixed_dictionaries(
        {
            "num_simulations": st.integers(1, 40),
            "lstm_horizon": st.integers(1, 6),
            "search_method": st.sampled_from(["puct", "gumbel"]),
        }
    ),
)


def drawn_roots(seed: int, num_actions: int, batch: int, num_levels: int | None):
    """A world, roots in it, and what else a search is told of them."""
    rng = np.random.default_rng(seed)
    world = random_world(rng, num_states=7, num_actions=num_actions, num_levels=num_levels)
    legal = rng.random((batch, num_actions)) < 0.7
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    seeds = rng.integers(2**64, size=batch, dtype=np.uint64)
    return world, world.root(rng.integers(7, size=batch)), {"legal": legal, "seeds": seeds}


@settings(max_examples=100, derandomize=True, deadline=None)
@SEARCHES
def test_a_search_tells_of_the_tree_it_grew(seed, num_actions, batch, num_levels, rules):
    world, root, told = drawn_roots(seed, num_actions, batch, num_levels)
    model = KeptTable(world)
    result = traced(model, root, **told, **rules)
    assert result.trace is not None
    assert_as_slow(result.trace, model.tree, result.action)
    assert (result.trace.principal_variation[:, 0] == result.action).all()
    assert ((result.visit_counts == 0) == np.isnan(result.trace.q)).all()


@settings(max_examples=50, derandomize=True, deadline=None)
@SEARCHES
def test_q_values_are_those_that_the_root_value_is_the_mean_of(
    seed, num_actions, batch, num_levels, rules
):
    """(1 + N) * root_value = network_value + sum_a N(a) Q(a)."""
    world, root, told = drawn_roots(seed, num_actions, batch, num_levels)
    result = traced(KeptTable(world), root, **told, **rules)
    assert result.trace is not None
    returns = result.network_value + (result.visit_counts * np.nan_to_num(result.trace.q)).sum(1)
    mean = returns / (1 + rules["num_simulations"])
    np.testing.assert_allclose(mean, result.root_value, rtol=1e-4, atol=1e-4)


@settings(max_examples=50, derandomize=True, deadline=None)
@SEARCHES
def test_one_compiled_loop_tells_what_a_call_per_step_tells(
    seed, num_actions, batch, num_levels, rules
):
    world, root, told = drawn_roots(seed, num_actions, batch, num_levels)
    told["budget"] = np.random.default_rng(seed).integers(1, 30, size=batch)
    whole = traced(KeptTable(world), root, **told, **rules)
    assert_same(whole.trace, traced(TableModel(world), root, **told, **rules).trace)


@METHODS
@pytest.mark.parametrize("kind", [KeptTable, TableModel])
def test_roots_with_budgets_of_their_own_have_the_traces_they_have_alone(method: str, kind):
    world, root, told = drawn_roots(1, 4, 5, 3)
    budget, rules = np.array([3, 40, 1, 17, 40]), {"search_method": method}
    mixed = traced(kind(world), root, budget=budget, **told, **rules)
    for row in range(5):
        index = np.array([row])
        alone = RootEstimate(root.latent[index], root.prior[index], root.value[index])
        one = {name: array[index] for name, array in told.items()}
        result = traced(kind(world), alone, num_simulations=int(budget[row]), **one, **rules)
        assert_same(mixed.rows(index).trace, result.trace)


@pytest.mark.parametrize("rows", [[3], [0, 2], [4, 3, 2, 1, 0], [1, 1]])
def test_traces_stay_with_their_rows_in_any_order(rows: list[int]):
    world, root, told = drawn_roots(2, 4, 5, 3)
    told["budget"] = np.array([3, 40, 1, 17, 9])
    whole, index = traced(KeptTable(world), root, **told), np.array(rows)
    part = RootEstimate(root.latent[index], root.prior[index], root.value[index])
    some = {name: array[index] for name, array in told.items()}
    assert_same(whole.rows(index).trace, traced(KeptTable(world), part, **some).trace)


def test_chosen_rows_drop_the_padding_that_they_do_not_need():
    trace = SearchTrace(np.zeros((2, 1), np.float32), np.array([[0, -1, -1], [0, 0, 0]], np.int32))
    assert trace.rows(np.array([0])).principal_variation.tolist() == [[0]]
    assert trace.rows(np.array([0, 1])).principal_variation.shape == (2, 3)
    assert trace.rows(np.array([], np.int64)).principal_variation.shape == (0, 1)


def test_nothing_is_told_unless_asked_for():
    """A model that was never taught to keep its tree searches as before."""
    world, _, _ = drawn_roots(3, 3, 2, None)
    result = searched(world, [0, 1], model=CompiledTable(world), num_simulations=5)
    assert result.trace is None
    assert result.rows(np.array([1])).trace is None


def test_asking_changes_nothing_else():
    world, root, told = drawn_roots(4, 3, 4, 3)
    result = traced(KeptTable(world), root, **told, root_noise_fraction=0.0)
    quiet = search(KeptTable(world), root, config=SearchConfig(), root_noise=False, **told)
    for name in ("action", "policy", "visit_counts", "visit_probs", "root_value", "network_value"):
        assert getattr(result, name).tobytes() == getattr(quiet, name).tobytes(), name


def test_the_compiled_network_tells_what_torch_tells():
    """Another rounding, and no tie so near that it would turn on it."""
    seen, network = observations(VECTOR, 6).numpy(), made(VECTOR, restless=True)
    rules = {"num_simulations": 20, "budget": np.array([3, 20, 9, 1, 20, 5])}
    ours, theirs = (
        traced(model, model.root(seen), **rules).trace
        for model in (CompiledModel(network), InferenceModel(network))
    )
    assert ours.principal_variation.tolist() == theirs.principal_variation.tolist()
    assert ours.principal_variation.shape[1] > 2
    np.testing.assert_allclose(ours.q, theirs.q, rtol=1e-4, atol=1e-4)


def test_threads_change_no_trace(monkeypatch: pytest.MonkeyPatch):
    """Each grows its rows of the same trees."""
    model, seen = CompiledModel(made(VECTOR, restless=True)), observations(VECTOR, 8).numpy()
    alone = traced(model, model.root(seen), num_simulations=20).trace
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("rllib_ez.core.compiled.model.WORTH_A_THREAD", 1.0)
    assert_same(traced(model, model.root(seen), num_simulations=20).trace, alone)
    assert model._threads is not None
    assert alone is not None
    assert not np.isnan(alone.q).all(axis=1).any()

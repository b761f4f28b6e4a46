"""Gumbel search: its schedule, a slow twin, and what must always hold."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import search
from rllib_ez.core.search.gumbel import considered_visits, gumbel_noise
from tests.core.search.twin import Node, Twin
from tests.core.search.worlds import TableModel, World, random_world, searched


class GumbelTwin(Twin):
    """The walk of `Twin`, choosing as Gumbel MuZero writes it."""

    def root_prior(self, prior: list[float]) -> list[float]:
        self.noise_of_gumbel, self.noise = self.noise, None
        return super().root_prior(prior)

    def choose(self, node: Node, estimate: float, simulation: int) -> int:
        scores = self.scores(node)
        counts = self.counts(node)
        if node is self.root:
            m = min(self.config.max_considered_actions, len(counts), self.config.num_simulations)
            wanted = halving(self.config.num_simulations, min(m, sum(self.legal)))[simulation]
            scores = [
                s + g if ok and n == wanted else -math.inf
                for s, g, ok, n in zip(
                    scores, self.noise_of_gumbel, self.legal, counts, strict=True
                )
            ]
        else:
            total = sum(counts)
            probs = softmax(scores, [True] * len(scores))
            scores = [p - n / (1 + total) for p, n in zip(probs, counts, strict=True)]
        return self.first_best(scores, node, simulation)

    def first_best(self, scores: list[float], node: Node, simulation: int) -> int:
        from tests.core.search.twin import mixed

        best, choice, ties = -math.inf, -1, 0
        for action, score in enumerate(scores):
            if score > best:
                best, choice, ties = score, action, 1
            elif score == best and best != -math.inf:
                ties += 1
                place = node.number * len(scores) + action
                if mixed(mixed(self.seed ^ simulation) ^ place) % ties == 0:
                    choice = action
        return choice

    def counts(self, node: Node) -> list[int]:
        actions = range(len(node.prior))
        return [node.children[a].visits if a in node.children else 0 for a in actions]

    def scores(self, node: Node) -> list[float]:
        """log P(a) + sigma(completed Q(a))."""
        counts = self.counts(node)
        scale = (self.config.gumbel_c_visit + max(counts)) * self.config.gumbel_c_scale
        mixed_value = self.mixed_value(node, counts)
        scores = []
        for action, prior in enumerate(node.prior):
            child = node.children.get(action)
            q = self.q(child) if child else mixed_value
            scores.append(math.log(max(prior, 1e-30)) + scale * self.norm(q))
        return scores

    def mixed_value(self, node: Node, counts: list[int]) -> float:
        raw = float(self.world.value[node.state])
        if not node.children:
            return raw
        weights = {a: max(node.prior[a], 1e-30) for a in sorted(node.children)}
        weighed, weight_sum = 0.0, 0.0
        for action, weight in weights.items():
            weight_sum += weight
            weighed += weight * self.q(node.children[action])
        total = sum(counts)
        return (raw + total * (weighed / weight_sum)) / (1 + total)

    def conclusion(self) -> tuple[int, list[float]]:
        """Action and improved policy."""
        scores, counts = self.scores(self.root), self.counts(self.root)
        best, action = -math.inf, 0
        for a, n in enumerate(counts):
            if self.legal[a] and n == max(counts) and scores[a] + self.noise_of_gumbel[a] > best:
                best, action = scores[a] + self.noise_of_gumbel[a], a
        return action, softmax(scores, self.legal)


def softmax(scores: list[float], allowed: list[bool]) -> list[float]:
    top = max(s for s, ok in zip(scores, allowed, strict=True) if ok)
    powers = [math.exp(s - top) if ok else 0.0 for s, ok in zip(scores, allowed, strict=True)]
    total = 0.0
    for power in powers:
        total += power
    return [power / total for power in powers]


def halving(n: int, m: int) -> list[int]:
    """The visits an action must have at each simulation, phase by phase."""
    if m == 1:
        return list(range(n))
    phases, visits, schedule = math.ceil(math.log2(m)), [0] * m, []
    while len(schedule) < n:
        for _ in range(max(1, n // (phases * m))):
            schedule += [visits[0]] * m
            visits = [visits[0] + 1] * m
        m = max(2, m // 2)
        visits = visits[:1] * m
    return schedule[:n]


def runs(n: int, m: int) -> list[tuple[int, int]]:
    """The schedule as (actions, at how many visits) in order."""
    row = considered_visits(n, m)[m].tolist()
    return [(len(list(group)), visits) for visits, group in groupby(row)]


@pytest.mark.parametrize(
    ("simulations", "actions", "expected"),
    [
        # 4 actions x 2 visits, then 2 actions x 4 visits
        (16, 4, [(4, 0), (4, 1), (2, 2), (2, 3), (2, 4), (2, 5)]),
        # 8 x 1, 4 x 1, 2 x 2
        (16, 8, [(8, 0), (4, 1), (2, 2), (2, 3)]),
        (16, 16, [(16, 0)]),
        # 16 x 1, 8 x 1, 4 x 2
        (32, 16, [(16, 0), (8, 1), (4, 2), (4, 3)]),
        (4, 2, [(2, 0), (2, 1)]),
        (3, 1, [(1, 0), (1, 1), (1, 2)]),
    ],
)
def test_schedule_halves_as_in_the_paper(simulations, actions, expected):
    assert runs(simulations, actions) == expected


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_actions=st.integers(1, 6),
    batch=st.integers(1, 4),
    num_states=st.integers(1, 8),
    num_levels=st.sampled_from([None, 1, 3]),
    noise=st.booleans(),
    settings_of_search=st.fixed_dictionaries(
        {
            "num_simulations": st.integers(1, 40),
            "max_considered_actions": st.integers(1, 8),
            "lstm_horizon": st.integers(1, 6),
            "discount": st.sampled_from([1.0, 0.9]),
            "gumbel_c_scale": st.sampled_from([0.1, 1.0]),
            "min_max_delta": st.sampled_from([0.01, 3.0]),
        }
    ),
)
def test_search_agrees_with_the_slow_twin(
    seed, num_actions, batch, num_states, num_levels, noise, settings_of_search
):
    rng = np.random.default_rng(seed)
    world = random_world(rng, num_states=num_states, num_actions=num_actions, num_levels=num_levels)
    legal = rng.random((batch, num_actions)) < 0.7
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    states = rng.integers(num_states, size=batch)
    seeds = rng.integers(2**64, size=batch, dtype=np.uint64)
    config = SearchConfig(search_method="gumbel", **settings_of_search)
    result = search(
        TableModel(world),
        world.root(states),
        config=config,
        seeds=seeds,
        legal=legal,
        root_noise=noise,
    )
    drawn = gumbel_noise(seeds, num_actions) if noise else np.zeros((batch, num_actions))
    for row in range(batch):
        twin = GumbelTwin(world, config, int(seeds[row]), legal[row].tolist(), drawn[row].tolist())
        root = twin.search(int(states[row]))
        action, improved = twin.conclusion()
        assert result.visit_counts[row].tolist() == twin.counts(root)
        assert result.root_value[row] == np.float32(root.value_sum / root.visits)
        assert result.action[row] == action
        np.testing.assert_array_equal(result.policy[row], np.array(improved, np.float32))


def bandit(values: list[float], prior: list[float]) -> World:
    """One choice among arms that pay `values`, then nothing."""
    arms = len(values)
    return World.of([[1] * arms] * 2, [values, [0.0] * arms], [prior, prior], [0.0, 0.0])


def test_the_improved_policy_leans_to_the_better_arm():
    result = searched(
        bandit([0.0, 1.0], [0.5, 0.5]), [0], search_method="gumbel", num_simulations=8
    )
    # (50 + 4 visits) * 0.1 = 5.4 more for the better arm; 1 / (1 + e^-5.4) = 0.9955
    np.testing.assert_allclose(result.policy[0], [0.0045, 0.9955], atol=1e-3)
    assert result.action[0] == 1


def test_a_policy_target_is_a_distribution_over_legal_actions():
    legal = np.array([[True, False, True]])
    world = bandit([1.0, 9.0, 2.0], [0.2, 0.6, 0.2])
    result = searched(world, [0], search_method="gumbel", num_simulations=9, legal=legal)
    assert result.policy[0, 1] == 0
    assert result.visit_counts[0, 1] == 0
    assert result.policy[0].sum() == pytest.approx(1)
    assert result.visit_counts.sum() == 9


def test_without_noise_the_most_promising_of_equally_visited_arms_is_played():
    result = searched(
        bandit([0.3, 0.2, 0.9], [0.4, 0.5, 0.1]), [0], search_method="gumbel", num_simulations=12
    )
    assert result.action[0] == 2


def test_noise_makes_every_arm_be_played_about_as_often_as_the_improved_policy_says():
    """With one simulation nothing is learned: actions are drawn from the prior itself."""
    prior = [0.1, 0.2, 0.7]
    world = bandit([0.0, 0.0, 0.0], prior)
    result = searched(
        world, [0] * 4000, search_method="gumbel", num_simulations=1,
        max_considered_actions=1, root_noise=True,
    )  # fmt: skip
    played = np.bincount(result.action, minlength=3) / 4000
    np.testing.assert_allclose(played, prior, atol=0.03)


def test_rows_do_not_depend_on_their_neighbours():
    world = random_world(np.random.default_rng(3), num_states=5, num_actions=4, num_levels=None)
    seeds = np.arange(10, 16, dtype=np.uint64)
    states = np.array([0, 1, 2, 3, 4, 0])
    kw = {"search_method": "gumbel", "num_simulations": 20, "root_noise": True}
    together = searched(world, states, seeds=seeds, **kw)
    for row in range(6):
        alone = searched(world, states[row : row + 1], seeds=seeds[row : row + 1], **kw)
        assert alone.policy[0].tobytes() == together.policy[row].tobytes()
        assert alone.root_value[0] == together.root_value[row]

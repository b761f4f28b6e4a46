"""Search as one would write it for one root with all the time in the world.

Nodes are objects, the walk is a recursion, numbers are plain floats. Written from the formulas
in the docstrings of `rllib_ez.core.search`; agreement is exact, so sums go in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rllib_ez.core.config import SearchConfig

MASK = 2**64 - 1


@dataclass(eq=False)
class Node:
    """A state reached by one sequence of actions."""

    number: int  # 0 is the root, i + 1 was expanded by simulation i
    state: int
    depth: int
    prior: list[float]
    value_sum: float
    prefix: float = 0.0  # rewards summed since the last reset, as the model says it
    reward: float = 0.0  # of the edge that leads here
    memory: float = 0.0  # what the model's LSTM knows after this step
    visits: int = 1
    children: dict[int, Node] = field(default_factory=dict)


def mixed(x: int) -> int:
    """SplitMix64 in Python's whole numbers."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@dataclass
class Twin:
    """One root's search."""

    world: object  # worlds.World
    config: SearchConfig
    seed: int
    legal: list[bool]
    noise: list[float] | None = None

    def search(self, state: int) -> Node:
        """The tree after all simulations."""
        prior = self.root_prior([float(p) for p in self.world.prior[state]])
        self.root = Node(0, state, 0, prior, value_sum=float(self.world.value[state]))
        self.lowest, self.highest = math.inf, -math.inf
        for simulation in range(self.config.num_simulations):
            self.visit(self.root, 0.0, simulation)
            qs = [q for q in self.all_q(self.root)]
            self.lowest, self.highest = min(qs), max(qs)
        return self.root

    def root_prior(self, prior: list[float]) -> list[float]:
        """Over legal actions only, then noise."""
        total = 0.0
        for p, ok in zip(prior, self.legal, strict=True):
            total += p if ok else 0.0
        if total > 0:
            prior = [p / total if ok else 0.0 for p, ok in zip(prior, self.legal, strict=True)]
        else:
            prior = [1 / sum(self.legal) if ok else 0.0 for ok in self.legal]
        if self.noise is not None:
            share = self.config.root_noise_fraction
            pairs = zip(prior, self.noise, strict=True)
            prior = [(1 - share) * p + share * noise for p, noise in pairs]
        return [float(np.float32(p)) for p in prior]

    def visit(self, node: Node, parent_estimate: float, simulation: int) -> float:
        """Goes down from a node, adds a leaf and returns the return seen from the node."""
        estimate = self.mean_q(node, parent_estimate)
        action = self.choose(node, estimate, simulation)
        if action in node.children:
            child = node.children[action]
            value = self.visit(child, estimate, simulation)
        else:
            child = self.expand(node, action, number=simulation + 1)
            value = child.value_sum
        value = child.reward + self.config.discount * value
        node.value_sum += value
        node.visits += 1
        return value

    def expand(self, node: Node, action: int, *, number: int) -> Node:
        """A new child; the prefix and the LSTM start anew below depths 0, horizon, 2 horizon..."""
        starts_anew = node.depth % self.config.lstm_horizon == 0
        memory = np.float32(0.0 if starts_anew else node.memory)
        prefix = float(memory + self.world.reward[node.state, action])
        state = int(self.world.next_state[node.state, action])
        child = Node(
            number,
            state,
            node.depth + 1,
            [float(p) for p in self.world.prior[state]],
            value_sum=float(self.world.value[state]),
            prefix=prefix,
            reward=prefix - (0.0 if starts_anew else node.prefix),
            memory=prefix,
        )
        node.children[action] = child
        return child

    def q(self, child: Node) -> float:
        return child.reward + self.config.discount * (child.value_sum / child.visits)

    def mean_q(self, node: Node, parent_estimate: float) -> float:
        """What an unvisited edge of the node is thought to be worth."""
        total, count = 0.0, 0
        for action in sorted(node.children):
            total += self.q(node.children[action])
            count += 1
        if node is not self.root:
            return (parent_estimate + total) / (1 + count)
        return total / count if count else 0.0

    def choose(self, node: Node, estimate: float, simulation: int) -> int:
        """The action with the best score; the k-th of equal ones replaces them by chance 1/k."""
        best, choice, ties = -math.inf, -1, 0
        for action in range(len(node.prior)):
            if node is self.root and not self.legal[action]:
                continue
            score = self.score(node, action, estimate)
            if score > best:
                best, choice, ties = score, action, 1
            elif score == best:
                ties += 1
                place = node.number * len(node.prior) + action
                if mixed(mixed(self.seed ^ simulation) ^ place) % ties == 0:
                    choice = action
        return choice

    def score(self, node: Node, action: int, estimate: float) -> float:
        child = node.children.get(action)
        q, n = (self.q(child), child.visits) if child else (estimate, 0)
        return self.norm(q) + node.prior[action] * self.exploration(node.visits) / (1 + n)

    def norm(self, q: float) -> float:
        if self.lowest > self.highest:
            return 0.0
        spread = max(self.highest - self.lowest, self.config.min_max_delta)
        return min(max((q - self.lowest) * (1 / spread), 0.0), 1.0)

    def exploration(self, n: int) -> float:
        """numpy's log, since libm's may differ from it in the last bit."""
        c1, c2 = self.config.pb_c_init, self.config.pb_c_base
        return float(np.sqrt(np.float64(n)) * (c1 + np.log(np.float64((n + c2 + 1) / c2))))

    def all_q(self, node: Node) -> list[float]:
        """Q of every edge in the tree below a node."""
        qs = []
        for child in node.children.values():
            qs += [self.q(child), *self.all_q(child)]
        return qs


@dataclass
class GumbelTwin(Twin):
    """The same tree, grown by sequential halving at the root."""

    gumbel: list[float] = field(default_factory=list)

    def choose(self, node: Node, estimate: float, simulation: int) -> int:
        """At the root by the schedule; below, the policy less the share of visits."""
        if node is self.root:
            wanted = self.schedule()[simulation]
            scores = self.root_scores()
            places = [a for a in self.considered() if visits_of(node, a) == wanted]
            allowed = {a: scores[a] for a in places}
        else:
            total = sum(child.visits for child in node.children.values())
            policy = self.improved_policy(node)
            allowed = {a: p - visits_of(node, a) * (1 / (1 + total)) for a, p in enumerate(policy)}
        return self.drawn(allowed, node.number * len(node.prior), simulation)

    def root_scores(self) -> list[float]:
        """Noise + log P + sigma."""
        triples = zip(self.gumbel, self.root.prior, self.sigma(self.root), strict=True)
        return [sigma + (logarithm(p) + noise) for noise, p, sigma in triples]

    def considered(self) -> list[int]:
        return [action for action, ok in enumerate(self.legal) if ok]

    def schedule(self) -> list[int]:
        """Visits so far of the action to try: in each phase all that are left, then half."""
        budget = self.config.num_simulations
        left = min(len(self.considered()), self.config.max_considered_actions, budget)
        if left == 1:
            return list(range(budget))
        phases, visits, order = math.ceil(math.log2(left)), 0, []
        while len(order) < budget:
            for _ in range(max(1, budget // (phases * left))):
                order += [visits] * left
                visits += 1
            left = max(2, left // 2)
        return order

    def drawn(self, allowed: dict[int, float], place: int, simulation: int) -> int:
        """The largest; of equal ones as in `Twin.choose`."""
        best, choice, ties = -math.inf, -1, 0
        for action in sorted(allowed):
            if allowed[action] > best:
                best, choice, ties = allowed[action], action, 1
            elif allowed[action] == best:
                ties += 1
                if mixed(mixed(self.seed ^ simulation) ^ (place + action)) % ties == 0:
                    choice = action
        return choice

    def sigma(self, node: Node) -> list[float]:
        """(c_visit + max N) * c_scale * norm(Q), unvisited with the mixed value."""
        most = max((child.visits for child in node.children.values()), default=0)
        factor = (self.config.gumbel_c_visit + most) * self.config.gumbel_c_scale
        unvisited = self.mixed_value(node)
        children = [node.children.get(action) for action in range(len(node.prior))]
        return [factor * self.norm(self.q(child) if child else unvisited) for child in children]

    def improved_policy(self, node: Node) -> list[float]:
        """softmax(log P + sigma), as P * exp(sigma) over its sum; legal actions at the root."""
        sigma = self.sigma(node)
        priors = node.prior if node is self.root else [max(p, 1e-30) for p in node.prior]
        highest = max(s for p, s in zip(priors, sigma, strict=True) if p > 0)
        weights = [p and p * math.exp(s - highest) for p, s in zip(priors, sigma, strict=True)]
        total = 0.0
        for weight in weights:
            total += weight
        return [weight * (1 / total) for weight in weights]

    def mixed_value(self, node: Node) -> float:
        """(v + sum N * mean of Q by prior) / (1 + sum N)."""
        value = float(self.world.value[node.state])
        if not node.children:
            return value
        weights, weighed, total = 0.0, 0.0, 0
        for action in sorted(node.children):
            child, p = node.children[action], max(node.prior[action], 1e-30)
            weights, weighed, total = weights + p, weighed + p * self.q(child), total + child.visits
        return (value + total * (weighed / weights)) / (1 + total)

    def conclusion(self) -> tuple[int, list[float]]:
        """The best of the most visited, and the improved policy."""
        scores = self.root_scores()
        most = max(visits_of(self.root, a) for a in range(len(scores)))
        last = [a for a in self.considered() if visits_of(self.root, a) == most]
        return max(last, key=lambda a: scores[a]), self.improved_policy(self.root)


def visits_of(node: Node, action: int) -> int:
    return node.children[action].visits if action in node.children else 0


def logarithm(p: float) -> float:
    """numpy's log, since libm's may differ from it in the last bit."""
    return float(np.log(np.float64(np.maximum(np.float32(p), np.float32(1e-30)))))

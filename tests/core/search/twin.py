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
        return min(max((q - self.lowest) / spread, 0.0), 1.0)

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

"""The compiled loops of a search on the CPU: the code of nodes, applied root after root."""

from __future__ import annotations

from rllib_ez.core.search.gumbel import conclude_by_gumbel, score_by_gumbel
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import best_action, expand_row, visits_of_edge
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.puct import conclude_by_visits, mean_q, score_by_puct
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Answer, Edge, Rules, Tree


@lean
def select(tree: Tree, rules: Rules, plan: Plan, edge: Edge, simulation: int, count: int) -> None:
    """Chooses the edge that each of the first `count` trees expands in this simulation."""
    for row in range(count):
        select_row(tree, rules, plan, edge, row, simulation)


@lean
def expand_and_backup(
    tree: Tree, rules: Rules, edge: Edge, answer: Answer, node: int, count: int
) -> None:
    """Adds `node` to the first `count` trees and passes its value up to the root."""
    for row in range(count):
        expand_row(tree, rules, edge, answer, row, node)


@lean
def conclude(tree: Tree, rules: Rules, plan: Plan, out: Conclusion) -> None:
    """Reads each finished tree."""
    for row in range(len(out.action)):
        conclude_row(tree, rules, plan, out, row)


@lean
def select_row(tree: Tree, rules: Rules, plan: Plan, edge: Edge, row: int, simulation: int) -> None:
    """Walks one tree down to an edge not expanded yet, and writes it to `edge`."""
    node = ROOT
    estimate = 0.0  # of each root anew: it must not leak from the row before
    while True:
        if rules.gumbel:
            score_by_gumbel(tree, rules, plan, row, node, simulation)
        else:
            estimate = mean_q(tree, row, node, estimate)
            score_by_puct(tree, rules, plan, row, node, estimate)
        action = best_action(tree, plan, row, node, simulation)
        child = tree.child[row, node, action]
        if child == UNEXPANDED:
            edge.parent[row] = node
            edge.action[row] = action
            edge.forget[row] = tree.depth[row, node] % rules.lstm_horizon == 0
            return
        node = child


@lean
def conclude_row(tree: Tree, rules: Rules, plan: Plan, out: Conclusion, row: int) -> None:
    """Reads one finished tree."""
    for action in range(tree.child.shape[2]):
        out.visit_counts[row, action] = visits_of_edge(tree, row, ROOT, action)
    out.root_value[row] = tree.value_sum[row, ROOT] / tree.visits[row, ROOT]
    if rules.gumbel:
        conclude_by_gumbel(tree, rules, plan, out, row)
    else:
        conclude_by_visits(tree, out, row)

"""A whole search in one piece of compiled code: choose, imagine, back up, for all simulations.

Rows are independent of each other, bit for bit, so a batch may be split over threads anyhow.
Axes: B roots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from rllib_ez.core.compiled import pixel, table, vector
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.kernels import conclude, select_row
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import expand_row
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import Answer, Edge, Rules, Tree

STEPS: dict[type, Callable[..., None]] = {
    vector.VectorNet: vector.step,
    pixel.PixelNet: pixel.step,
    table.TableNet: table.step,
}


def step(
    net: Any, work: Any, nodes: Store, node: int, count: int, edge: Edge, answer: Answer
) -> None:
    """The step of the kind of network that `net` is; compiled code chooses by its type."""
    STEPS[type(net)](net, work, nodes, node, count, edge, answer)


@overload(step)
def _step(net: Any, work: Any, nodes: Any, node: Any, count: Any, edge: Any, answer: Any) -> Any:
    its_step = STEPS[net.instance_class]

    def call(
        net: Any, work: Any, nodes: Any, node: Any, count: Any, edge: Any, answer: Any
    ) -> None:
        its_step(net, work, nodes, node, count, edge, answer)

    return call


@lean
def grow(
    net: Any, work: Any, nodes: Store, tree: Tree, rules: Rules, plan: Plan, edge: Edge,
    answer: Answer,
) -> None:  # fmt: skip
    """Grows planted trees, whose root latents stand in `nodes`, until every budget is used up."""
    count = len(plan.budget)
    for node in range(1, tree.child.shape[1]):
        while count > 0 and plan.budget[count - 1] < node:
            count -= 1  # budgets fall from row to row: who is done stands last
        for row in range(count):
            select_row(tree, rules, plan, edge, row, node - 1)
        step(net, work, nodes, node, count, edge, answer)
        for row in range(count):
            expand_row(tree, rules, edge, answer, row, node)


def run_search(
    net: Any, work: Any, nodes: Store, tree: Tree, rules: Rules, plan: Plan
) -> Conclusion:
    """Grows planted trees, whose root latents stand in `nodes`, and concludes; on this thread."""
    batch, _, actions = tree.child.shape
    out = Conclusion.blank(batch, actions)
    edge, answer = Edge.blank(batch), Answer.blank(batch, actions)
    grow(net, work, nodes, tree, rules, plan, edge, answer)
    conclude(tree, rules, plan, out)
    return out

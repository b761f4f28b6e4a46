"""Plans and orders of sweeps on small worlds, made without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rllib_ez.runs.plan import Plan, make_plan
from tuning.order import Order, make_order
from tuning.spaces import parse_space
from tuning.suites import load_suite


@cache
def plan_of(env: str = "CartPole-v1", *assignments: str, env_steps: int | None = None) -> Plan:
    """With the preset that goes with it."""
    options = {"env_steps": env_steps}
    return make_plan(env=env, game=None, preset=[], assignments=assignments, options=options)[0]


def order_of(
    games: Sequence[str] = ("CartPole-v1", "Acrobot-v1"),
    *,
    seeds: Sequence[int] = (0, 1),
    suite: str = "classic",
    env_steps: int | None = 2000,
    search: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Order:
    """By default four trials without a search."""
    return make_order(
        suite,
        [load_suite("classic").find(game) for game in games],
        seeds=seeds,
        options={"env_steps": env_steps},
        space=None if search is None else parse_space(search, name="mine"),
        **changes,
    )[0]

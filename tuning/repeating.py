"""One trial of a sweep, to be trained again by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rllib_ez.errors import CheckpointError
from rllib_ez.runs.plan import Plan
from tuning.order import FILE, Order
from tuning.reading import PARAMS
from tuning.specs import TrialSpec


def plan_of_trial(path: Path) -> Plan:
    """The plan of a trial, seed and searched settings with it.

    Args:
        path: its folder: DIR/part_01/Pong-seed-0; or DIR/Pong-seed-0, whichever part it is in.

    Raises:
        CheckpointError: there is no such trial, or no sweep around it.
    """
    found = [path, *sorted(path.parent.glob(f"part_*/{path.name}"), reverse=True)]
    folder = next((one for one in found if (one / PARAMS).is_file()), None)
    if folder is None:
        raise CheckpointError(
            f"a trial must lie in its sweep's folder, as DIR/Pong-seed-0, got {str(path)!r}: "
            f"no {PARAMS} there{near(path)}"
        )
    order = order_around(folder)
    config = json.loads((folder / PARAMS).read_text())
    spec = TrialSpec(game=config["game"], seed=config["seed"], settings=config["settings"])
    plan = spec.plan(order.plans)
    return replace(plan, threads=config.get("threads", plan.threads))


def order_around(folder: Path) -> Order:
    """The order of the sweep that a trial's folder lies in."""
    for parent in list(folder.absolute().parents)[:2]:
        if (parent / FILE).is_file():
            return Order.read((parent / FILE).read_text())
    raise CheckpointError(
        f"a trial must lie in its sweep's folder, got {str(folder)!r}, with no {FILE} above it"
    )


def near(path: Path) -> str:
    """Trials that are there."""
    there = sorted({one.parent.name for one in path.parent.glob(f"part_*/*/{PARAMS}")})
    return f"; there are {', '.join(there[:5])}{', ...' if len(there) > 5 else ''}" if there else ""

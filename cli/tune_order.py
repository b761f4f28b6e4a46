"""From the options of `ez tune` to what is to be done."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rllib_ez.errors import SettingError
from tuning.order import Order, grown, make_order
from tuning.reading import suite_of
from tuning.spaces import Asha, Space, load_space
from tuning.suites import Suite, choose_games
from tuning.sweep import held


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `ez tune`."""

    uri: str  # of the sweep's folder
    suite: Suite
    order: Order  # with what the folder holds already
    notes: list[str]
    address: str | None
    room: dict[str, int | None]  # see `share_of`
    max_failures: int
    grace_seconds: float
    keeps_replay: bool
    trackers: dict[str, str | None]  # "wandb", "mlflow": project, where wanted
    is_estimated: bool
    is_dry_run: bool


def chosen(
    games: str,
    *,
    seeds: str,
    presets: list[str],
    assignments: list[str],
    options: dict[str, int | None],
    space: Space | None,
    num_samples: int | None,
    out: str | None,
) -> dict[str, Any]:
    """The order, joined with that of the sweep which the folder holds.

    Returns:
        The first fields of `Call`.

    Raises:
        SettingError, EnvironmentSpecError: see `choose_games`, `make_order`.
        CheckpointError: the folder holds something else.
    """
    suite, found = choose_games(games)
    is_file = Path(games).suffix in (".yaml", ".yml")
    order, notes = make_order(
        str(Path(games).absolute()) if is_file else suite.name,
        found,
        seeds=seeds_of(seeds),
        presets=presets,
        assignments=assignments,
        options=options,
        space=space,
        num_samples=num_samples,
    )
    uri = out or str(Path("sweeps") / default_name(games))
    before = held(uri)
    if before is not None:
        order = grown(before, order)
    suite = suite_of(order.suite, order.games)
    return {"uri": uri, "suite": suite, "order": order, "notes": notes}


def space_of(
    search: str | None, *, num_samples: int | None, method: str | None, asha: int | None
) -> Space | None:
    """What is searched, if anything.

    Args:
        search: a space's name or file.
        num_samples: see `make_order`.
        method: in place of the space's own.
        asha: steps from which on trials are ended that lag behind; in place of the space's own.

    Raises:
        SettingError: there is no such space, or something goes with one that is not named.
    """
    if search is None:
        for name, value in (("num-samples", num_samples), ("method", method), ("asha", asha)):
            if value is not None:
                raise SettingError(f"--{name} goes with --search, got {value} alone")
        return None
    space = load_space(search)
    if asha is not None:
        space = replace(space, asha=Asha(grace_env_steps=asha))
    return space if method is None else replace(space, method=method)


def seeds_of(text: str) -> list[int]:
    """The seeds: "3" means 0, 1, 2; "0,7" these two; "5," this one.

    Raises:
        SettingError: no numbers, or one twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    if not all(part.isdecimal() for part in parts):
        raise SettingError(f"seeds must be a number of seeds or a list, as 0,1,2, got {text!r}")
    numbers = [int(part) for part in parts]
    if "," not in text:
        numbers = list(range(numbers[0]))
    if not numbers or len(set(numbers)) < len(numbers):
        raise SettingError(f"seeds must be one or more, each once, got {text!r}")
    return numbers


def default_name(games: str) -> str:
    """A folder's name for what was asked."""
    if games.endswith((".yaml", ".yml")):
        games = Path(games).stem
    names = [name.rpartition("/")[2] for name in games.split(",")]
    return re.sub(r"[^A-Za-z0-9.]+", "-", ",".join(names))[:60]

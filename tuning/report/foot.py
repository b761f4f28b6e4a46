"""What stands around a table of scores: how they were measured, and what made every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rllib_ez.runs.protocol import Protocol, counted, protocol_of_plan
from rllib_ez.runs.provenance import hardware, versions
from tuning.report.model import Foot, Made, Run

if TYPE_CHECKING:
    from tuning.reading import Sweep

Protocols = dict[Protocol, list[str]]  # and the games that are measured so


def protocols_of(sweep: Sweep, games: Iterable[str], settings: Mapping[str, Any]) -> Protocols:
    """How the runs of each game are scored, by the sweep's plans.

    Args:
        sweep: whose order has the plans.
        games: that are shown.
        settings: of the sample that is shown; they take the place of a plan's.
    """
    plans = sweep.order.get("plans") or {}
    found: Protocols = {}
    for game in games:
        plan = plans.get(game) or {}
        protocol = protocol_of_plan(
            plan.get("env") or sweep.suite.find(game).env,
            plan.get("env_config") or {},
            {**(plan.get("settings") or {}), **settings},
            seed=None,
        )
        found.setdefault(protocol, []).append(game)
    return found


def in_words(protocols: Protocols, order: Mapping[str, Any]) -> str:
    """A sentence for every way of scoring, then how long runs train."""
    told = [
        protocol.sentence if len(protocols) == 1 else f"{', '.join(games)}: {protocol.sentence}"
        for protocol, games in protocols.items()
    ]
    return " ".join([*told, f"Runs train for {env_steps_of(order)} env steps."])


def env_steps_of(order: Mapping[str, Any]) -> str:
    """Env steps a run, for people: "100,000", or a range where games differ."""
    plans = order.get("plans") or {}
    steps = {plan["env_steps"] for plan in plans.values() if plan.get("env_steps")}
    if not steps and order.get("env_steps"):
        steps = {order["env_steps"]}
    return " to ".join(f"{count:,}" for count in sorted({min(steps), max(steps)})) if steps else "?"


def recipes_of(order: Mapping[str, Any]) -> str:
    """The presets of the games' plans, for people."""
    plans = (order.get("plans") or {}).values()
    recipes = {" + ".join(plan.get("presets") or []) or "none" for plan in plans}
    return ", ".join(sorted(recipes)) or "none"


def foot_of(runs: Sequence[Run]) -> Foot:
    """What made the finished ones of these runs; those that were made alike share a line."""
    machines: list[str] = []
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if run.is_finished:
            groups.setdefault(_making(run, machines), []).append(run)
    lines = [
        Made(
            runs=[(run.game, run.seed) for run in alike],
            seconds=_span(run.wall_seconds for run in alike),
            machines=places,
            commits=commits,
            config_hashes=hashes,
        )
        for (places, commits, hashes), alike in groups.items()
    ]
    return Foot(machines=machines, lines=lines)


def runs_in_words(made: Made) -> str:
    """ "Pong seeds 0, 1, 2"; "78 runs of 26 games"."""
    games = list(dict.fromkeys(game for game, _ in made.runs))
    if len(games) > 1:
        return f"{counted(len(made.runs), 'run')} of {counted(len(games), 'game')}"
    seeds = ", ".join(str(seed) for _, seed in made.runs)
    return f"{games[0]} seed{'s' * (len(made.runs) > 1)} {seeds}"


def _making(run: Run, machines: list[str]) -> tuple[Any, ...]:
    """Places of its machines in the list, which grows by new ones; commits; hashes."""
    told = [f"{hardware(one)}; {versions(one)}" for one in run.machines]
    machines += [one for one in dict.fromkeys(told) if one not in machines]
    places = tuple(machines.index(one) + 1 for one in dict.fromkeys(told))
    return places, _distinct(run, "commit"), _distinct(run, "config_hash")


def _distinct(run: Run, key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one[key] for one in run.machines if one.get(key)))


def _span(seconds: Iterable[float | None]) -> tuple[float, float] | None:
    known = [one for one in seconds if one is not None]
    return (min(known), max(known)) if known else None

"""Where the time of a run goes: seconds by process, role and stage, and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Seconds = dict[str, dict[str, float]]  # by role and stage, as `Pipeline.seconds` gives them

BUSY = 0.5  # a process that works less than this share of the time holds nobody up


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Adds what came before a run was resumed to what its pipeline counts since."""

    training_seconds: float
    stages: Seconds

    @classmethod
    def after(cls, rows: Sequence[Mapping[str, Any]]) -> StageSeconds:
        """Goes on from the rows of progress.jsonl."""
        for row in reversed(rows):
            if "stages" in row:
                return cls(row["training_seconds"], row["stages"])
        return cls(0.0, {})

    def row(self, training_seconds: float, stages: Seconds) -> dict[str, Any]:
        """What a row of progress.jsonl says of it."""
        return {
            "training_seconds": round(self.training_seconds + training_seconds, 3),
            "stages": combined(self.stages, stages),
        }


def combined(first: Seconds, second: Seconds, *, sign: int = 1) -> Seconds:
    """first + sign * second, stage by stage."""
    result: Seconds = {}
    for role in dict.fromkeys([*first, *second]):
        one, other = first.get(role, {}), second.get(role, {})
        result[role] = {
            stage: round(one.get(stage, 0.0) + sign * other.get(stage, 0.0), 4)
            for stage in dict.fromkeys([*one, *other])
        }
    return result


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes of one kind and what is done in them."""

    name: str
    count: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage."""

    process: str
    processes: int
    role: str
    stage: str
    seconds: float  # of all processes of the kind
    share: float  # of wall time x processes


@dataclass(frozen=True, slots=True)
class Report:
    """Where the time went."""

    wall_seconds: float  # in rounds of training: without set-up, evaluation, checkpoints
    rows: list[Row]
    advice: str


def report(
    wall_seconds: float, seconds: Seconds, settings: Mapping[str, Any], *, cores: int | None = None
) -> Report:
    """Puts seconds by role into seconds by process, and says what would help.

    Args:
        wall_seconds: of training.
        seconds: by role and stage.
        settings: of the run: they say what runs where.
        cores: of the machine that all ran on, None if it is not known.
    """
    kinds = processes_of(settings)
    rows = [row for kind in kinds for row in rows_of(kind, wall_seconds, seconds)]
    text = advice(rows)
    num = sum(kind.count for kind in kinds)
    if cores is not None and num > cores:
        text = f"{num} processes share {cores} cores, so all look busier than they are. {text}"
    return Report(wall_seconds, rows, text)


def processes_of(settings: Mapping[str, Any]) -> list[Processes]:
    """The processes of a run."""
    counts = {
        "env_runner": settings["num_env_runners"],
        "replay": settings.get("num_replay_shards", 0),
        "reanalyse": settings.get("num_reanalyse_actors", 0),
        "learner": settings["num_learners"],
    }
    where = {role: role if count else "driver" for role, count in counts.items()}
    if not counts["reanalyse"]:  # replay searches itself
        where["reanalyse"] = where["replay"]
    own = [
        Processes(name, count, tuple(role for role in where if where[role] == name))
        for name, count in counts.items()
        if count
    ]
    roles = tuple(role for role in where if where[role] == "driver")
    return [*own, Processes("driver", 1, roles)]


def rows_of(kind: Processes, wall_seconds: float, seconds: Seconds) -> list[Row]:
    """The stages of one kind of process; what is left over is waiting, in the driver routing."""
    total = max(1e-9, wall_seconds * kind.count)
    spent = [(r, s, t) for r in kind.roles for s, t in stages_of(r, seconds.get(r, {})).items()]
    if kind.name == "driver":
        spent.append(("driver", "waiting", seconds.get("driver", {}).get("waiting", 0.0)))
    rest = max(0.0, total - sum(t for _, _, t in spent))
    spent.append((kind.name, "routing" if kind.name == "driver" else "waiting", rest))
    return [Row(kind.name, kind.count, r, s, round(t, 3), t / total) for r, s, t in spent]


def stages_of(role: str, stages: Mapping[str, float]) -> dict[str, float]:
    """The stages of a role; `busy` is the sum of an env runner's and some more."""
    named = {stage: t for stage, t in stages.items() if stage != "busy"}
    if "busy" in stages:
        named["other"] = max(0.0, stages["busy"] - sum(named.values()))
    return named


def advice(rows: Sequence[Row]) -> str:
    """What holds the run up, and what would help."""
    working = [row for row in rows if row.stage != "waiting"]
    busy = {name: sum(row.share for row in working if row.process == name) for name in kinds(rows)}
    name = max(busy, key=busy.__getitem__)
    if busy[name] < BUSY:
        return (
            f"No process works more than {busy[name]:.0%} of the time ({name} the most): they "
            "wait for each other's messages. Larger ones help: raise num_envs_per_env_runner, "
            "batches_ahead or prefetch_batches, or take fewer processes."
        )
    top = max((row for row in working if row.process == name), key=lambda row: row.share)
    where = "the driver" if name == "driver" else f"{name} x {top.processes}"
    return (
        f"The busiest is {where}: {busy[name]:.0%} of the time, {top.share:.0%} with {top.role} "
        f"({top.stage}). {remedy(top)}"
    )


def kinds(rows: Sequence[Row]) -> list[str]:
    """The kinds of process, in order."""
    return list(dict.fromkeys(row.process for row in rows))


def remedy(row: Row) -> str:
    """What takes time away from a stage."""
    own = row.process == row.role
    if row.role == "driver":
        return "Larger messages help: raise rollout_fragment_length or batches_ahead."
    if row.stage == "archive":
        return "A faster disk for the episodes helps, or --no-episodes."
    if row.stage == "transfer":
        return "A faster network helps, or a larger rollout_fragment_length."
    if row.role == "env_runner":
        more = "more --num-env-runners" if own else "--num-env-runners 1 or more, on other cores,"
        cheaper = ", or fewer num_simulations" if row.stage == "search" else ""
        return f"To act faster: {more}{cheaper}."
    if row.role == "replay":
        more = "more --num-replay-shards" if own else "--num-replay-shards 1, on another core"
        return f"To serve batches faster: {more}."
    if row.role == "reanalyse":
        more = "more --num-reanalyse-actors" if own else "--num-reanalyse-actors 1 or more"
        return f"To search old positions faster: {more}, or a GPU (num_gpus_per_reanalyse_actor)."
    more = "more --num-learners" if own else "--num-learners 1, so that nobody waits for it"
    return f"To learn faster: a GPU (num_gpus_per_learner=1), {more}, or a smaller replay_ratio."

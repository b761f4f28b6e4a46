"""What a machine or cluster has, what a trial takes of it, and how many run side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.algorithm.memory import MemoryPlan, plan_memory
from rllib_ez.core.cores import usable_cores
from rllib_ez.core.replay.memory import available_bytes
from rllib_ez.errors import SettingError
from rllib_ez.runs.plan import Plan

Bundle = dict[str, float]  # "CPU", "GPU"
KEEP_CHECKPOINTS = 2  # of each trial, the newest
MOST_TRIALS_A_GPU = 4  # more gain little: each keeps the GPU busy for most of its time
GPU_BYTES_A_TRIAL = 12 * 2**30  # the paper's network with batch 256; an estimate, not measured
PROCESS_BYTES = 900 * 2**20  # a trial's process without replay: 690 to 710 MiB seen, and some more


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is."""

    nodes: tuple[Bundle, ...]
    memory_bytes: int | None  # that can still be had, of the smallest node; None: unknown
    gpu_bytes: int | None = None  # of the smallest GPU; None: unknown

    def total(self, name: str) -> float:
        """All of "CPU" or "GPU"."""
        return sum(node.get(name, 0.0) for node in self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What each trial gets."""

    bundles: tuple[Bundle, ...]  # the trial's process first, then the actors that it starts
    threads: int  # of torch, in the process of a trial with a network for pixels; else one
    memory_bytes: int  # when its replay is full, about
    disk_bytes: int  # of the checkpoints that stay, at most about
    concurrency: int  # trials side by side

    def plan(self, plan: Plan) -> Plan:
        """The plan as it is trained with this share."""
        threads = self.threads if network_of(plan) == "pixel" else 1
        return replace(with_gpu(plan, self.bundles[0].get("GPU", 0.0)), threads=threads)

    @property
    def cpus(self) -> float:
        """Of one trial."""
        return sum(bundle.get("CPU", 0.0) for bundle in self.bundles)

    @property
    def gpus(self) -> float:
        """Of one trial."""
        return sum(bundle.get("GPU", 0.0) for bundle in self.bundles)


def room_here() -> Room:
    """This machine."""
    import torch

    num_gpus = torch.cuda.device_count()
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(num_gpus)]
    node = {"CPU": float(usable_cores()), "GPU": float(num_gpus)}
    return Room(nodes=(node,), memory_bytes=available_bytes(), gpu_bytes=min(sizes, default=None))


def room_of(nodes: Sequence[Mapping[str, Any]]) -> Room:
    """A cluster.

    Args:
        nodes: as `ray.nodes()` tells of them.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return Room(
        nodes=tuple({name: node.get(name, 0.0) for name in ("CPU", "GPU")} for node in alive),
        memory_bytes=int(min(node.get("memory", 0.0) for node in alive)) or None,
    )


def share_of(
    room: Room,
    plans: Sequence[Plan],
    num_trials: int,
    *,
    cpus_per_trial: int | None = None,
    trials_per_gpu: int | None = None,
    max_concurrent: int | None = None,
) -> Share:
    """Divides a machine or cluster among the trials.

    Args:
        room: what there is.
        plans: one a game.
        num_trials: that are to run.
        cpus_per_trial: for the trial's own process; None: what is left when as many as can run
            side by side.
        trials_per_gpu: that share one; None: by its memory.
        max_concurrent: at most so many side by side.

    Raises:
        SettingError: one trial does not fit; both numbers are told.
    """
    for name, value in (
        ("cpus_per_trial", cpus_per_trial),
        ("trials_per_gpu", trials_per_gpu),
        ("max_concurrent", max_concurrent),
    ):
        if value is not None and value < 1:
            raise SettingError(f"{name} must be >= 1, got {value}")
    gpus = gpus_per_trial(room, trials_per_gpu)
    needed = [bundles_of(plan, gpus) for plan in plans]
    bundles = max(needed, key=lambda one: (of(one, "GPU"), of(one, "CPU")))
    replay = max(memory_of(plan).total_bytes for plan in plans)
    memory = PROCESS_BYTES * max(map(len, needed)) + replay
    check_fits(room, bundles, memory)
    limit = min(num_trials, max_concurrent or num_trials)
    concurrency = min(limit, side_by_side(room, bundles, memory))
    has_pixels = any(network_of(plan) == "pixel" for plan in plans)
    cpus = cpus_per_trial or (cores_for(room, bundles, concurrency) if has_pixels else 1)
    bundles = [{**bundles[0], "CPU": max(cpus, bundles[0]["CPU"])}, *bundles[1:]]
    check_fits(room, bundles, memory)
    return Share(
        bundles=tuple(bundles),
        # Threads wait for each other: with one on every core the busiest holds up all of them.
        threads=max(1, min(cpus, math.floor(most(room.nodes, "CPU")) - 1)) if has_pixels else 1,
        memory_bytes=memory,
        disk_bytes=KEEP_CHECKPOINTS * replay,
        concurrency=min(limit, side_by_side(room, bundles, memory)),
    )


def gpus_per_trial(room: Room, trials_per_gpu: int | None) -> float:
    """The part of a GPU that a trial gets; 0 where there is none."""
    if room.total("GPU") == 0:
        return 0.0
    if trials_per_gpu is None:
        fitting = 1 if room.gpu_bytes is None else room.gpu_bytes // GPU_BYTES_A_TRIAL
        cores = math.floor(room.total("CPU") / room.total("GPU"))
        trials_per_gpu = max(1, min(MOST_TRIALS_A_GPU, fitting, cores))
    return math.floor(1000 / trials_per_gpu) / 1000


def with_gpu(plan: Plan, gpus: float) -> Plan:
    """The plan with its learner on the trial's part of a GPU."""
    if not gpus or plan.settings["num_learners"] or plan.settings["num_gpus_per_learner"]:
        return plan
    return replace(plan, settings=plan.settings | {"num_gpus_per_learner": gpus})


def bundles_of(plan: Plan, gpus: float) -> list[Bundle]:
    """What Ray is to reserve at least: the trial's process, then each of its actors."""
    request = EfficientZero.default_resource_request(with_gpu(plan, gpus).config().to_dict())
    first, *rest = request.bundles
    return [{**first, "CPU": max(1, first.get("CPU", 0.0))}, *rest]


def network_of(plan: Plan) -> str:
    """Which kind of network it has: "pixel" or "vector"."""
    config = plan.config()
    return str(config.model_config_for(config.env_spec()).network)


def memory_of(plan: Plan) -> MemoryPlan:
    """What a trial's replay takes when full."""
    config = plan.config()
    return plan_memory(config, config.env_spec())


def check_fits(room: Room, bundles: Sequence[Bundle], memory: int) -> None:
    """Raises SettingError if one trial is more than there is."""
    for name in ("CPU", "GPU"):
        for need, have, where in (
            (of(bundles, name), room.total(name), "in all"),
            (most(bundles, name), most(room.nodes, name), "in one process, on the largest node"),
        ):
            if need > have:
                raise SettingError(
                    f"a trial must fit into what is there, got one that needs {need:g} {name}s "
                    f"{where} where there are {have:g}: ask for fewer actors, or for less of each "
                    "(--set num_env_runners=0, --cpus-per-trial, num_cpus_per_*, num_gpus_per_*)"
                )
    if room.memory_bytes is not None and memory > room.memory_bytes:
        raise SettingError(
            f"a trial must fit into memory, got one that needs {memory / 2**30:.1f} GiB when its "
            f"replay is full, where {room.memory_bytes / 2**30:.1f} GiB are free: lower "
            "replay_capacity or replay_bytes with --set"
        )


def side_by_side(room: Room, bundles: Sequence[Bundle], memory: int) -> int:
    """How many trials fit at once, at least one.

    By what all nodes have together; a trial that spans nodes may leave some of it unused.
    """
    counts = [
        math.floor(room.total(name) / of(bundles, name) + 1e-6)
        for name in ("CPU", "GPU")
        if of(bundles, name)
    ]
    if room.memory_bytes is not None:
        counts.append(len(room.nodes) * max(1, room.memory_bytes // memory))
    return max(1, min(counts))


def cores_for(room: Room, bundles: Sequence[Bundle], concurrency: int) -> int:
    """The most cores for each trial's own process, if so many are to lie whole on the nodes."""
    most_cores = math.floor(room.total("CPU") / concurrency - of(bundles[1:], "CPU"))
    for cores in range(most_cores, 1, -1):
        if num_places(room, {**bundles[0], "CPU": cores}) >= concurrency:
            return cores
    return 1


def num_places(room: Room, bundle: Bundle) -> int:
    """How many such processes the nodes hold, each on one node."""
    needs = {name: bundle[name] for name in ("CPU", "GPU") if bundle.get(name)}
    return sum(
        min(math.floor(node.get(name, 0.0) / need + 1e-6) for name, need in needs.items())
        for node in room.nodes
    )


def of(bundles: Sequence[Bundle], name: str) -> float:
    """All of one kind."""
    return sum(bundle.get(name, 0.0) for bundle in bundles)


def most(bundles: Sequence[Bundle], name: str) -> float:
    """The largest of one kind."""
    return max((bundle.get(name, 0.0) for bundle in bundles), default=0.0)

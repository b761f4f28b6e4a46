from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import tuning.room
from rllib_ez.errors import SettingError
from rllib_ez.runs.plan import Plan
from tests.tuning.plans import plan_of
from tuning.room import (
    GPU_BYTES_A_TRIAL,
    KEEP_CHECKPOINTS,
    MOST_TRIALS_A_GPU,
    PROCESS_BYTES,
    Room,
    Share,
    cores_for,
    memory_of,
    room_here,
    room_of,
    share_of,
)

GIB = 2**30
SMALL, PIXELS = plan_of(), plan_of("toy_pixels")
LARGE_GPU = 100 * GPU_BYTES_A_TRIAL


def room(*cpus: float, gpus: Sequence[float] = (), memory: int | None = None, **more: Any) -> Room:
    """Of a node for each number of cores; `gpus` of the first nodes."""
    gpus = [*gpus, *[0.0] * (len(cpus) - len(gpus))]
    nodes = [{"CPU": cpu, "GPU": gpu} for cpu, gpu in zip(cpus, gpus, strict=True)]
    return Room(nodes=tuple(nodes), memory_bytes=memory, **more)


def share(room: Room, plan: Plan = PIXELS, num_trials: int = 1000, **more: Any) -> Share:
    return share_of(room, [plan], num_trials, **more)


def with_actors(plan: Plan = SMALL, **settings: Any) -> Plan:
    return replace(plan, settings=plan.settings | settings)


def test_small_networks_take_a_core_and_a_thread_each():
    found = share(room(8.0), SMALL)
    assert (found.concurrency, found.threads, found.cpus, found.gpus) == (8, 1, 1, 0)


def test_small_networks_take_no_more_where_there_is_more():
    found = share(room(8.0), SMALL, 3)
    assert (found.concurrency, found.threads, found.cpus) == (3, 1, 1)


def test_pixels_take_the_cores_that_others_leave():
    found = share(room(8.0), num_trials=3)
    assert (found.concurrency, found.threads, found.cpus) == (3, 2, 2)


def test_many_trials_of_pixels_run_one_a_core():
    found = share(room(8.0), num_trials=26)
    assert (found.concurrency, found.threads, found.cpus) == (8, 1, 1)


def test_at_most_so_many_run_side_by_side():
    found = share(room(8.0), max_concurrent=2)
    assert (found.concurrency, found.threads) == (2, 4)


def test_asked_for_cores_are_given():
    found = share(room(8.0), cpus_per_trial=3)
    assert (found.concurrency, found.threads, found.cpus) == (2, 3, 3)


def test_small_networks_learn_with_one_thread_however_many_cores_they_get():
    found = share(room(8.0), SMALL, cpus_per_trial=4)
    assert (found.concurrency, found.threads, found.cpus) == (2, 1, 4)


def test_env_runners_have_cores_of_their_own():
    found = share(room(8.0), with_actors(num_env_runners=2))
    assert (found.concurrency, found.cpus, len(found.bundles)) == (2, 3, 3)


def test_pixels_leave_the_cores_of_their_env_runners():
    found = share(room(8.0), with_actors(PIXELS, num_env_runners=1), 2)
    assert [bundle["CPU"] for bundle in found.bundles] == [3, 1]
    assert (found.concurrency, found.threads) == (2, 3)


def test_without_a_gpu_no_plan_asks_for_one():
    found = share(room(8.0), trials_per_gpu=4)
    assert all(not bundle.get("GPU") for bundle in found.bundles)
    assert found.plan(PIXELS).settings["num_gpus_per_learner"] == 0


@pytest.mark.parametrize(
    ("gpus", "trials_per_gpu", "part", "concurrency"),
    [(1.0, 1, 1.0, 1), (1.0, 2, 0.5, 2), (1.0, 3, 0.333, 3), (4.0, 1, 1.0, 4), (4.0, 3, 0.333, 12)],
)
def test_trials_share_gpus(gpus: float, trials_per_gpu: int, part: float, concurrency: int):
    found = share(room(64.0, gpus=[gpus]), trials_per_gpu=trials_per_gpu)
    assert (found.gpus, found.concurrency) == (part, concurrency)
    assert found.plan(PIXELS).settings["num_gpus_per_learner"] == part
    assert found.cpus == 64 // concurrency


@pytest.mark.parametrize(
    ("gpu_bytes", "cores", "num_trials"),
    [
        (None, 16.0, 1),
        (GPU_BYTES_A_TRIAL // 2, 16.0, 1),
        (2 * GPU_BYTES_A_TRIAL, 16.0, 2),
        (LARGE_GPU, 16.0, MOST_TRIALS_A_GPU),
        (LARGE_GPU, 2.0, 2),
    ],
)
def test_a_gpu_holds_as_many_as_its_memory_and_cores_allow(
    gpu_bytes: int | None, cores: float, num_trials: int
):
    found = share(room(cores, gpus=[1.0], gpu_bytes=gpu_bytes))
    assert (found.concurrency, found.gpus) == (num_trials, 1 / num_trials)


def test_a_learner_of_ones_own_keeps_its_gpu():
    plan = with_actors(PIXELS, num_gpus_per_learner=1.0)
    found = share(room(16.0, gpus=[2.0], gpu_bytes=LARGE_GPU), plan)
    assert (found.gpus, found.concurrency) == (1.0, 2)
    assert found.plan(plan).settings["num_gpus_per_learner"] == 1.0


def test_memory_limits_how_many_run_side_by_side():
    found = share(room(16.0, memory=3 * GIB), SMALL)
    assert found.memory_bytes == PROCESS_BYTES + memory_of(SMALL).total_bytes
    assert found.concurrency == 3


def test_every_process_of_a_trial_counts_for_memory():
    actors = with_actors(num_env_runners=3)
    found = share(room(64.0), actors)
    assert found.memory_bytes == 4 * PROCESS_BYTES + memory_of(actors).total_bytes


def test_the_hungriest_game_decides():
    actors = with_actors(num_env_runners=2)
    found = share_of(room(16.0), [SMALL, actors], 100)
    assert found == share_of(room(16.0), [actors, SMALL], 100)
    assert (found.cpus, found.memory_bytes) == (3, share(room(16.0), actors).memory_bytes)


def test_checkpoints_that_stay_fill_the_disk():
    assert share(room(8.0)).disk_bytes == KEEP_CHECKPOINTS * memory_of(PIXELS).total_bytes


def test_all_nodes_of_a_cluster_count():
    found = share(room(4.0, 8.0, 4.0, memory=100 * GIB), SMALL)
    assert (found.concurrency, found.cpus) == (16, 1)


def test_a_process_is_never_larger_than_a_node():
    found = share(room(4.0, 8.0, 4.0), num_trials=1)
    assert (found.concurrency, found.cpus, found.threads) == (1, 8, 7)


def test_as_many_processes_as_run_lie_whole_on_unequal_nodes():
    found = share(room(4.0, 12.0), num_trials=2)
    assert (found.concurrency, found.cpus) == (2, 6)


def test_cores_are_those_of_nodes_with_a_gpu():
    found = share(room(8.0, 32.0, gpus=[1.0, 0.0]), num_trials=4)
    assert (found.concurrency, found.gpus, found.cpus) == (1, 1.0, 8)


@pytest.mark.parametrize(("concurrency", "cores"), [(1, 4), (2, 4), (3, 2), (4, 2), (5, 1)])
def test_cores_fall_with_the_number_of_trials(concurrency: int, cores: int):
    assert cores_for(room(4.0, 4.0), [{"CPU": 1.0}], concurrency) == cores


def test_memory_of_the_smallest_node_holds_for_each():
    found = share(room(8.0, 8.0, 8.0, memory=2 * GIB + 2**27), SMALL)
    assert found.concurrency == 6


@pytest.mark.parametrize(
    ("of", "plan", "more", "message"),
    [
        (room(2.0), with_actors(num_env_runners=2), {}, "needs 3 CPUs in all where there are 2"),
        (room(2.0, 2.0), SMALL, {"cpus_per_trial": 3},
         "needs 3 CPUs in one process, on the largest node where there are 2"),
        (room(8.0), with_actors(num_gpus_per_learner=1.0), {}, "1 GPUs in all where there are 0"),
        (room(8.0, memory=GIB // 2), SMALL, {}, r"needs 0\.9 GiB .* where 0\.5 GiB are free"),
    ],
)  # fmt: skip
def test_a_trial_that_does_not_fit_is_refused_with_both_numbers(
    of: Room, plan: Plan, more: Any, message: str
):
    with pytest.raises(SettingError, match=message):
        share(of, plan, **more)


@pytest.mark.parametrize("name", ["cpus_per_trial", "trials_per_gpu", "max_concurrent"])
def test_a_number_below_one_is_refused(name: str):
    more: Any = {name: 0}
    with pytest.raises(SettingError, match=f"^{name} must be >= 1, got 0"):
        share(room(8.0), **more)


def test_the_plan_of_a_share_has_its_threads_and_nothing_else_changed():
    assert share(room(8.0), num_trials=2).plan(PIXELS) == replace(PIXELS, threads=4)


def test_a_cluster_is_its_living_nodes():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0, "memory": 5e9, "node:x": 1.0}},
        {"Alive": True, "Resources": {"CPU": 2.0, "memory": 3e9}},
        {"Alive": False, "Resources": {"CPU": 99.0, "memory": 1e9}},
    ]
    found = room_of(nodes)
    assert found.nodes == ({"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 0.0})
    assert found.memory_bytes == 3_000_000_000
    assert (found.total("CPU"), found.total("GPU")) == (6, 1)


def test_a_node_without_a_number_for_memory_leaves_it_unknown():
    assert room_of([{"Alive": True, "Resources": {"CPU": 4.0}}]).memory_bytes is None


def test_the_room_here_is_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning.room, "usable_cores", lambda: 6)
    monkeypatch.setattr(tuning.room, "available_bytes", lambda: GIB)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert room_here() == Room(nodes=({"CPU": 6.0, "GPU": 0.0},), memory_bytes=GIB)

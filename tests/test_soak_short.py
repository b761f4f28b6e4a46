"""Memory stays as it is once replay is full; the hour's verdict is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import memory_of, role_of
from benchmarks.soak import MIB, verdict

BOUND = 5 * MIB  # 2,500 steps of 8 KiB are 20


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak_run"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.ray
def test_a_full_replay_takes_no_more_memory(told):
    assert told["num_steps"] > 15 * told["num_positions"]
    assert told["clean"] < BOUND


@pytest.mark.slow
@pytest.mark.ray
def test_the_same_run_is_seen_to_grow_when_it_keeps_every_segment(told):
    assert told["num_kept"] > 100
    assert told["leaking"] > 2 * BOUND


def test_the_slope_is_per_hour_and_in_mib():
    found = verdict(np.array([0.0, 0.5, 1.0]), np.array([10, 11, 12]) * MIB)
    assert found == {"mib_at_end": 12.0, "mib_per_hour": 2.0, "mib_spread": 2.0}


def test_one_peak_moves_the_spread_but_not_the_slope():
    values = np.full(20, 50.0)
    values[7] = 90.0
    found = verdict(np.linspace(0, 1, 20), values * MIB)
    assert (found["mib_per_hour"], found["mib_spread"]) == (0.0, 40.0)


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("ray::ReplayWorker.draw", "replay"),
        ("ray::ReanalyseWorker", "reanalyse"),
        ("ray::_WrappedExecutable.learn", "learner"),
        ("ray::MCTSEnvRunner.collect", "env runner"),
        ("ray::IDLE", "ray"),
        ("python ReplayWorker", "ray"),
    ],
)
def test_what_a_process_does_is_told_by_its_title(command, role):
    assert role_of(command) == role


def test_what_a_process_allocates_is_its_own_memory():
    before = memory_of(os.getpid()).own
    kept = np.ones(64 * MIB, np.uint8)  # so much is never taken from what had been freed
    assert memory_of(os.getpid()).own - before > 60 * MIB
    del kept


def test_a_process_that_is_gone_has_no_memory():
    assert memory_of(2**22 + 1).rss == 0

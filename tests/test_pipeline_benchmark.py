"""The pipeline's benchmark: what the slowest stage takes, and a short run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pipeline import Case, check_nothing_was_skipped, differences, reduced, table
from benchmarks.simulated import random_episodes


def case_of(layout: str, slowest: str) -> Case:
    return Case(layout=layout, slowest=slowest, prefetch=4)


SPENT = {
    "updates": 10,
    "env_steps": 80,
    "wall": 0.75,
    "working": 0.7,
    "process_time": 0.05,
    "machine_cpu": 0.9,
    "driver cpu": 0.1,
    "replay cpu": 0.05,
}
STAGES = {"reanalyse reanalyse": 0.6, "learner learn": 0.6}


@pytest.mark.parametrize(
    ("layout", "slowest", "seconds"),
    [
        ("2111", "learning", 0.06),
        ("2110", "sampling", 0.1),
        ("4222", "learning", 0.03),
        ("4222", "sampling", 0.1),
        ("1010", "nothing", 0.0),
        ("0000", "learning", 0.14),
    ],
)
def test_the_floor_is_the_slowest_stage_or_all_of_them_in_one_process(layout, slowest, seconds):
    assert case_of(layout, slowest).floor_seconds() == pytest.approx(seconds)


def test_a_row_is_told_in_ms_per_update():
    row = reduced(case_of("2111", "learning"), SPENT, STAGES, 2)
    assert (row["ms_per_update"], row["ratio"], row["driver_cpu_ms"]) == (75.0, 1.25, 5.0)
    assert row["cpu_ms"] == {"driver": 10.0, "replay": 5.0}
    assert row["ms_outside_pipeline_per_call"] == 25.0
    assert row["cores_used_by_others"] == 1.0


@pytest.mark.parametrize("slept", [0.3, 1.2])
def test_a_stage_that_slept_too_little_or_too_much_is_refused(slept):
    row = reduced(case_of("2111", "learning"), SPENT, {**STAGES, "learner learn": slept}, 2)
    with pytest.raises(RuntimeError, match="learner learn must take"):
        check_nothing_was_skipped(case_of("2111", "learning"), row)


def test_seconds_of_a_stage_that_was_not_there_before_count_from_0():
    before = {"replay": {"replay": 1.0}, "driver": {}}
    after = {"replay": {"replay": 1.5}, "driver": {"waiting": 2.0}}
    assert differences(before, after) == {"replay replay": 0.5, "driver waiting": 2.0}


def test_the_table_has_a_line_for_each_half():
    rows = [
        reduced(case_of("2111", slowest), SPENT, STAGES, 2) for slowest in ("learning", "nothing")
    ]
    machine = {"processor": "P", "cpus": 2, "ray": "2", "commit": "abc"}
    text = table({"machine": machine, "command": "c", "niceness": [0, "15"], "rows": rows})
    assert "| 2, 1, 1, 1 | learning | 4 | 75.0 | 60 | 1.25 | 5.0 | 15.0 | 1.00 |" in text
    assert "| 2, 1, 1, 1 | 75.0 | 5.0 | 15.0 | 25 |" in text


def test_random_episodes_are_whole():
    episodes = list(random_episodes(100))
    assert sum(len(episode.action) for episode in episodes) >= 100
    assert all(len(episode.frames) == len(episode.action) + 1 for episode in episodes)
    assert not np.array_equal(episodes[0].frames[0], episodes[1].frames[0])


@pytest.mark.slow
@pytest.mark.ray
def test_stages_run_side_by_side(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.pipeline", "--out", str(tmp_path)]
    command += ["--layouts", "1010", "--slowest", "learning", "--updates", "30"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert row["updates"] >= 30
    assert 60 <= row["ms_per_update"] < 120  # one after the other they take 140

"""The extrapolation's arithmetic, by hand; and its document, which must show what it computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import (
    DOC,
    bottleneck,
    driver_seconds,
    filled,
    game_seconds,
    gpu_seconds,
    held_up_by,
    list_schedule,
    several_gpus_seconds,
    shared_seconds,
    side_by_side_seconds,
)
from benchmarks.scaling_times import (
    ENDS,
    RESULTS,
    Time,
    Work,
    assumed_times,
    cpu_times,
    read_times,
    scenarios,
    units,
    work_counted,
)

WORK = Work(
    env_steps=1_000, random_steps=200, num_envs=4, updates=1_200, roots=5_000, evaluations=2,
    episodes=3, episode_steps=50, longest_steps=80, checkpoints=4,
)  # fmt: skip
# 100 s in all, 60 of them on the GPU.
STAGES = {
    "learner": 30.0, "reanalyse": 20.0, "acting": 6.0, "evaluation": 4.0, "env steps": 13.0,
    "replay": 15.0, "copies": 10.0, "checkpoints": 2.0,
}  # fmt: skip


def results_with(tmp_path: Path, **reports: dict) -> Path:
    """Our results, and a GPU's as benchmarks/gpu/run.sh leaves them."""
    for name in ("pong_paper", "checkpoint"):
        shutil.copytree(RESULTS / name, tmp_path / name)
    for name, report in reports.items():
        (tmp_path / "gpu" / name).mkdir(parents=True)
        report = {"machine": {"gpu": "H200"}, **report}
        (tmp_path / "gpu" / name / "result.json").write_text(json.dumps(report))
    return tmp_path


def test_a_game_has_so_many_of_each_unit():
    copied = (1_200 * 256 * 9 * 27_648 + 5_000 * 4 * 27_648) / 1e9  # frames of 96 x 96 x 3
    assert units(WORK) == {
        "learner": 1_200,
        "reanalyse": 5_000,
        "acting": 200,
        "evaluation": 160,
        "env steps": 1_300,
        "replay": 1_200,
        "copies": pytest.approx(copied),
        "checkpoints": 4,
    }


def test_a_stage_takes_its_time_for_each_of_its_units():
    times = {name: Time(seconds=0.5, source="") for name in STAGES}
    assert game_seconds(times, WORK)["learner"] == 600.0


def test_the_gpu_is_busy_with_networks_and_searches():
    assert gpu_seconds(STAGES) == 60.0


def test_without_a_stage_of_seven_tenths_a_run_takes_the_other_three():
    name, share, gain = bottleneck({"learner": 2.0, "replay": 1.0, "copies": 7.0})
    assert (name, share, gain) == ("copies", 0.7, pytest.approx(10 / 3))


@pytest.mark.parametrize(("runs", "seconds"), [(1, 100.0), (2, 120.0), (4, 240.0)])
def test_runs_on_one_gpu_wait_for_it_once_it_is_full(runs, seconds):
    assert shared_seconds(STAGES, runs) == seconds


def test_a_run_starts_where_a_place_is_free_first():
    # places: 3 then 2 then 2; 3 then 2: the better order, 2 2 2 | 3 3, is not looked for
    assert list_schedule([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7.0
    assert list_schedule([5.0] * 78, 64) == 10.0
    assert list_schedule([5.0] * 78, 1) == 390.0


def test_several_gpus_split_learner_and_reanalyse_only():
    assert several_gpus_seconds(STAGES, 1, 1_000) == 100.0
    # 50 + 50 / 2, and 1000 times 0.1 ms and 2 x 1/2 x 33.7 MB at 100 GB/s
    assert several_gpus_seconds(STAGES, 2, 1_000) == pytest.approx(75.0 + 0.1 + 0.33726928)


@pytest.mark.parametrize(
    ("changed", "driver", "slowest"),
    [
        ({}, 0.01, 56.0),  # the GPU, without evaluation
        ({"copies": 70.0}, 0.01, 85.0),  # replay and copies
        ({"replay": 1.0}, 0.1, 120.0),  # the driver's 1200 updates
        ({"learner": 0.0, "reanalyse": 4.0}, 0.001, 25.0),
    ],
)
def test_actors_are_as_slow_as_the_slowest_of_them(monkeypatch, changed, driver, slowest):
    monkeypatch.setattr(scaling, "driver_seconds", lambda: driver)
    # then evaluation: 300 of 1300 env steps, 3 s, its searches, 4 s; checkpoints, 2 s
    told = side_by_side_seconds(STAGES | changed, WORK)
    assert told == pytest.approx(slowest + 3 + 4 + 2)


def test_actors_are_no_faster_than_the_env_steps_of_training(monkeypatch):
    monkeypatch.setattr(scaling, "driver_seconds", lambda: 0.0)
    # 260 s for 1300 env steps: 200 s in training, 60 s in evaluation
    told = side_by_side_seconds(STAGES | {"env steps": 260.0}, WORK)
    assert told == pytest.approx(200 + 60 + 4 + 2)


def test_why_it_takes_so_long_is_told():
    turns = "one run's stages in turn: learner; the last wave fills 14 of 64 places"
    assert held_up_by(STAGES, 64, 1) == turns
    assert held_up_by(STAGES, 1, 2) == "the GPU: learner"


def test_the_cpus_times_are_those_of_the_results():
    times = cpu_times(RESULTS)
    assert times["learner"].seconds == pytest.approx(145.33 / 20)
    assert times["reanalyse"].seconds == pytest.approx(2.7 / 200)
    assert times["acting"].seconds == pytest.approx(4.59 / 25)  # 100 steps of 4 games not random
    assert times["replay"].seconds == pytest.approx(0.0105)
    assert times["checkpoints"].seconds == 7.12
    assert driver_seconds() == 0.01266


def test_assumed_times_are_arithmetic_over_speed():
    times = assumed_times(ENDS[0], 790e12)
    assert times["learner"].seconds == pytest.approx(9.4937e-3, rel=1e-4)
    assert times["reanalyse"].seconds == pytest.approx(15.342e-6, rel=1e-4)
    assert times["copies"].seconds == 0.04


def test_a_game_at_ten_percent_is_told_in_full():
    game = game_seconds(scenarios()["H200, 10 %"], work_counted())
    assert game["learner"] == pytest.approx(120_000 * 0.75 / 79, rel=1e-9)
    assert game["reanalyse"] == pytest.approx(34_814_645 * 1.212e-3 / 79, rel=1e-9)
    assert game["env steps"] == pytest.approx(516_000 * 0.0015)


def test_what_a_gpu_measured_takes_the_place_of_what_was_assumed(tmp_path):
    learner = {"peak_tflops": 500.0, "cases": [{"update_ms": 30.0}, {"update_ms": 20.0}]}
    learner["cases"].append({"form": "bf16", "error": "no memory"})
    search = {"cases": [{"roots": 1536, "simulations": s, "search_ms": 2.0 * s} for s in (16, 50)]}
    search["cases"].append({"roots": 1536, "simulations": 50, "error": "no memory"})
    found = scenarios(results_with(tmp_path, learner=learner, search=search))
    times = found["H200, rest as H200, 10 %"]
    assert times["learner"] == Time(seconds=0.02, source="measured: gpu/learner")
    # 100 ms over 1536 roots, and an encoding of 303 MFLOP at 50 TFLOP/s
    assert times["reanalyse"].seconds == pytest.approx(0.1 / 1536 + 303e6 / 50e12)
    assert times["acting"].source.startswith("assumed")


def test_without_a_gpus_results_all_of_it_is_assumed(tmp_path):
    assert list(scenarios(results_with(tmp_path))) == ["CPU, 2 cores", "H200, 10 %", "H200, 40 %"]


def test_stage_times_of_ones_own_are_read_and_checked(tmp_path):
    path = tmp_path / "mine.json"
    stages = {name: {"seconds": 1.0, "source": "mine"} for name in STAGES}
    path.write_text(json.dumps([{"name": "me", "stages": stages}]))
    assert read_times(path)["me"]["replay"] == Time(seconds=1.0, source="mine")
    del stages["replay"]
    path.write_text(json.dumps([{"name": "me", "stages": stages}]))
    with pytest.raises(ValueError, match=r"stages must be learner, .* got"):
        read_times(path)


def test_a_time_below_0_is_refused():
    with pytest.raises(ValueError, match="seconds must be >= 0, got -1"):
        Time(seconds=-1.0, source="")


def test_the_document_shows_what_is_computed():
    text = DOC.read_text()
    assert text.count("<!-- scaling: ") == 4
    assert text == filled(text), "run: python -m benchmarks.scaling"

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_ez.runs.plan import make_plan

from .conftest import TINY, ez, ez_process

ROUND = {
    "env_steps": 40,
    "updates": 10,
    "seconds": 9.0,
    "training_seconds": 4.0,
    "stages": {"learner": {"learn": 3.0}, "driver": {"waiting": 0.0}},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What `ez train` would have noted in one process."""
    plan, _ = make_plan(env="cartpole", game=None, preset=[], assignments=[], options={})
    plan.write(tmp_path)
    evaluation = {"env_steps": 40, "updates": 10, "seconds": 9.5, "evaluation": {}}
    rows = [json.dumps(row) for row in (ROUND, evaluation)]
    (tmp_path / "progress.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_run_is_read_from_its_folder(run: Path):
    report = json.loads(ez("profile", str(run), "--json").stdout)
    assert report["wall_seconds"] == 4.0
    (learn,) = [row for row in report["rows"] if row["stage"] == "learn"]
    assert (learn["process"], learn["seconds"], learn["share"]) == ("driver", 3.0, 0.75)


def test_people_get_a_table_and_advice(run: Path):
    shown = ez("profile", str(run)).stdout
    assert "4.0 s of training" in shown
    assert "The busiest is the driver: 100% of the time, 75% with learner (learn)." in shown


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["nowhere"], 3, "a run's folder must hold a readable config.yaml"),
        ([], 2, "give one of --env and --game"),
        (["--env", "cartpole", "--seconds", "0"], 2, "seconds must be > 0, got 0"),
    ],
)
def test_a_wrong_order_is_refused(args: list[str], code: int, text: str):
    result = ez("profile", *args)
    assert (result.exit_code, text in result.stderr) == (code, True)


def test_a_run_takes_no_settings(run: Path):
    result = ez("profile", str(run), "--env", "cartpole", "--num-learners", "0")
    assert (result.exit_code, "got --env, --num-learners" in result.stderr) == (2, True)


def test_a_run_without_stages_is_refused(run: Path):
    (run / "progress.jsonl").unlink()
    result = ez("profile", str(run))
    assert (result.exit_code, "must have noted its stages" in result.stderr) == (3, True)


@pytest.mark.ray
@pytest.mark.slow
def test_a_short_run_is_measured_once_it_learns():
    tiny = [word for word in TINY if word not in ("--evaluation-episodes", "2")]
    done = ez_process("profile", "--env", "cartpole", *tiny, "--seconds", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0.5 <= report["wall_seconds"] < 20
    seconds = {row["stage"]: row["seconds"] for row in report["rows"]}
    assert min(seconds["learn"], seconds["search"], seconds["reanalyse"]) > 0
    assert sum(seconds.values()) == pytest.approx(report["wall_seconds"], rel=0.1)

"""`ez train` from start to end, with tiny numbers, in processes of its own."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from rllib_ez.runs.plan import Plan
from rllib_ez.runs.provenance import config_hash

from .conftest import ROOT, TINY, ez_background, ez_process, trained, wait_for_rows

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CARTPOLE = ["train", "--env", "cartpole", *TINY]
FULL_DISK = f"""
import sys
import rllib_ez.algorithm.algorithm as algorithm
from cli.main import app

def write_agent(*args, written=[], write=algorithm.write_agent):
    if written:
        raise OSError({errno.ENOSPC}, "No space left on device")
    written.append(write(*args))

algorithm.write_agent = write_agent
app(sys.argv[1:])
"""


def rows_of(run: Path) -> list[dict[str, Any]]:
    """progress.jsonl without what the clock says."""
    rows = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    clocks = ("seconds", "training_seconds", "stages")
    return [{k: v for k, v in row.items() if k not in clocks} for row in rows]


def board_of(run: Path) -> dict[str, list[int]]:
    """The steps at which each name stands in the TensorBoard files."""
    steps: dict[str, list[int]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = struct.unpack("<Q", data[at : at + 8])[0]
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A whole run: 200 env steps, evaluated twice."""
    out = tmp_path_factory.mktemp("whole") / "run"
    steps = ["--env-steps", "200", "--evaluate-every", "120", "--checkpoint-every", "40"]
    return out, trained(*CARTPOLE, *steps, "--out", str(out))


def test_the_summary_says_how_it_went(run: tuple[Path, dict[str, Any]]):
    out, summary = run
    assert (summary["env_steps"], summary["updates"], summary["finished"]) == (200, 50, True)
    assert summary["checkpoint"] == str(out / "checkpoint_000000200")
    assert summary["wall_seconds"] > 0
    assert summary["return_mean"] == pytest.approx(sum(summary["returns"]) / 2)


def test_the_best_checkpoint_stands_beside_the_final_weights(run: tuple[Path, dict[str, Any]]):
    out, summary = run
    means = {
        row["env_steps"]: row["evaluation"]["return_mean"]
        for row in rows_of(out)
        if "evaluation" in row
    }
    best = summary["best_checkpoint"]
    assert best == {"return_mean": max(means.values()), "at": best["at"], "num_evaluations": 2}
    assert means[best["at"]] == best["return_mean"]
    assert (summary["evaluated_at"], summary["protocol"]["weights"]) == (200, "final")


def test_the_folder_says_on_what_it_was_made(run: tuple[Path, dict[str, Any]]):
    (machine,) = json.loads((run[0] / "machine.json").read_text())
    assert machine["config_hash"] == config_hash(Plan.read(run[0]))
    assert (machine["resumed_at"], machine["cpus"]) == (0, os.cpu_count())


def test_evaluations_come_at_their_marks(run: tuple[Path, dict[str, Any]]):
    evaluated = [row["env_steps"] for row in rows_of(run[0]) if "evaluation" in row]
    assert evaluated == [120, 200]


def test_two_checkpoints_are_kept(run: tuple[Path, dict[str, Any]]):
    kept = sorted(path.name for path in run[0].glob("checkpoint_*"))
    assert kept == ["checkpoint_000000160", "checkpoint_000000200"]


def test_the_curve_is_a_picture(run: tuple[Path, dict[str, Any]]):
    assert (run[0] / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_has_rllibs_names_over_env_steps(run: tuple[Path, dict[str, Any]]):
    board = board_of(run[0])
    assert board["evaluation/env_runners/episode_return_mean"] == [120, 200]
    assert board["learners/default_policy/total_loss"] == [120, 160, 200]


def test_nothing_but_our_own_lines_is_shown(tmp_path: Path):
    done = ez_process(*CARTPOLE, "--env-steps", "40", "--out", str(tmp_path / "run"))
    assert done.returncode == 0
    noise = [w for w in ("ray", "RLlib", "Warning", "WARNING") if w in done.stderr]
    assert noise == []
    assert len(done.stderr.splitlines()) <= 4


def test_ez_evaluate_repeats_the_runs_own_evaluation(run: tuple[Path, dict[str, Any]]):
    done = ez_process("evaluate", str(run[0]), "--episodes", "2", "--json")
    assert json.loads(done.stdout)["returns"] == run[1]["returns"]


def test_stopped_and_resumed_equals_not_stopped(run: tuple[Path, dict[str, Any]], tmp_path: Path):
    out, every = tmp_path / "run", ["--evaluate-every", "120", "--checkpoint-every", "40"]
    trained(*CARTPOLE, "--env-steps", "120", *every, "--out", str(out))
    trained("train", "--resume", str(out), "--env-steps", "200")
    assert rows_of(out) == rows_of(run[0])
    machines = json.loads((out / "machine.json").read_text())
    assert [one["resumed_at"] for one in machines] == [0, 120]


def test_going_on_from_an_older_checkpoint_sets_newer_ones_aside(
    run: tuple[Path, dict[str, Any]], tmp_path: Path
):
    out = tmp_path / "run"
    out.mkdir()
    subprocess.run(["cp", "-r", f"{run[0]}/.", str(out)], check=True)
    summary = trained("train", "--resume", str(out / "checkpoint_000000160"))
    assert summary["env_steps"] == 200
    assert rows_of(out) == rows_of(run[0])
    assert len(list(out.glob("set_aside_checkpoint_000000200_*"))) == 1


def test_every_role_in_a_process_of_its_own_trains_too(tmp_path: Path):
    out = tmp_path / "run"
    roles = ("env-runners", "learners", "replay-shards", "reanalyse-actors")
    processes = [word for role in roles for word in (f"--num-{role}", "1")]
    summary = trained(*CARTPOLE, *processes, "--env-steps", "200", "--out", str(out))
    assert summary["updates"] == summary["env_steps"] // 4
    rows = json.loads(ez_process("profile", str(out), "--json").stdout)["rows"]
    working = {row["process"] for row in rows if row["stage"] != "waiting" and row["seconds"] > 0}
    assert working == {"env_runner", "learner", "replay", "reanalyse", "driver"}


Offline = tuple[Path, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def offline(run: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """Trained from the episodes of `run` alone, 50 updates; then gone on with 80 env steps."""
    out = tmp_path_factory.mktemp("offline") / "run"
    order = ["--env-steps", "0", "--updates", "50", "--evaluate-every", "20"]
    rounds = ["--set", "target_update_every_updates=10", "--from-episodes", str(run[0])]
    first = trained(*CARTPOLE, *order, *rounds, "--out", str(out))
    assert list((out / "episodes").glob("*.parquet")) == []
    return out, first, trained("train", "--resume", str(out), "--env-steps", "80")


def test_an_archive_alone_is_learned_from_without_an_env_step(offline: Offline):
    out, first, _ = offline
    assert (first["env_steps"], first["updates"], first["finished"]) == (0, 50, True)
    assert {row["env_steps"] for row in rows_of(out) if row["updates"] < 50} == {0}


def test_env_steps_may_follow_and_earn_updates_of_their_own(offline: Offline):
    _, _, second = offline
    assert (second["env_steps"], second["updates"], second["finished"]) == (80, 70, True)


def test_updates_from_an_archive_are_progress(offline: Offline):
    out, _, _ = offline
    kept = sorted(path.name for path in out.glob("checkpoint_*"))
    assert kept == ["checkpoint_000000050", "checkpoint_000000130"]
    rows = [(row["updates"], row["env_steps"]) for row in rows_of(out) if "evaluation" in row]
    assert rows == [(20, 0), (40, 0), (50, 0), (50, 40), (70, 80)]
    board = board_of(out)["evaluation/env_runners/episode_return_mean"]
    assert board == [20, 40, 50, 90, 130]


# The whole group gets it, as from a terminal or from Slurm: Ray must be up until all is saved.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_to_all_saves_a_checkpoint_and_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path
):
    out = tmp_path / "run"
    actors = ["--num-env-runners", "1", "--num-replay-shards", "1"] if code == 0 else []
    endless = ["--env-steps", "1000000", "--checkpoint-every", "0", "--out", str(out)]
    with ez_background(*CARTPOLE, *actors, *endless) as process:
        wait_for_rows(out, at_least=4)
        newest = rows_of(out)[-1]["env_steps"]
        os.killpg(process.pid, number)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == code, stderr
    assert f"ez train --resume {out}" in stderr
    (saved,) = out.glob("checkpoint_*")
    assert int(saved.name.removeprefix("checkpoint_")) >= newest
    assert (saved / "agent" / "card.json").is_file()


def test_final_updates_come_after_the_last_env_step_and_before_the_last_evaluation(tmp_path: Path):
    out = tmp_path / "run"
    final = ["--set", "num_final_updates=7", "--evaluate-every", "0", "--checkpoint-every", "0"]
    summary = trained(*CARTPOLE, *final, "--env-steps", "120", "--out", str(out))
    assert (summary["env_steps"], summary["updates"]) == (120, 30 + 7)
    (evaluation,) = (row for row in rows_of(out) if "evaluation" in row)
    assert (evaluation["env_steps"], evaluation["updates"]) == (120, 37)
    assert [path.name for path in out.glob("checkpoint_*")] == ["checkpoint_000000127"]


def test_a_run_out_of_time_saves_a_checkpoint_and_goes_on_when_told(tmp_path: Path):
    out = tmp_path / "run"
    steps = ["--env-steps", "1000000", "--checkpoint-every", "0", "--out", str(out)]
    done = ez_process(*CARTPOLE, *steps, "--max-seconds", "12")
    assert done.returncode == 0, done.stderr
    assert f"ez train --resume {out}" in done.stderr
    (saved,) = out.glob("checkpoint_*")
    steps = int(saved.name.removeprefix("checkpoint_")) + 80
    done = ez_process("train", "--resume", str(out), "--env-steps", str(steps))
    assert done.returncode == 0, done.stderr
    assert max(out.glob("checkpoint_*")) > saved


@pytest.mark.parametrize("seconds", ["0", "-3", "nan"])
def test_time_that_is_none_is_refused(tmp_path: Path, seconds: str):
    out = tmp_path / "run"
    done = ez_process(*CARTPOLE, "--out", str(out), "--max-seconds", seconds)
    assert done.returncode == 2
    assert "max_seconds must be > 0" in done.stderr
    assert not out.exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path):
    out = tmp_path / "run"
    steps = ["--env-steps", "80", "--checkpoint-every", "40", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *CARTPOLE, *steps],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "error: checkpoint must be written whole, got [Errno 28]" in done.stderr
    assert [path.name for path in out.glob("checkpoint_*")] == ["checkpoint_000000040"]

"""The table of best checkpoints beside that of final weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.sweeps import CARTPOLE, LENGTH, row, write_attempt, write_finished, write_order
from tuning.reading import read_sweep
from tuning.report.model import SweepScores
from tuning.report.scores import build_report
from tuning.specs import TrialSpec


def scores_of(folder: Path) -> SweepScores:
    (sweep,) = build_report([read_sweep(folder)], num_resamples=50).sweeps
    return sweep


def evaluated(folder: Path, spec: TrialSpec, *means: float) -> None:
    """A finished trial that was evaluated so many times, at even distances."""
    every = LENGTH // len(means)
    marks = [every * (place + 1) for place in range(len(means))]
    told = [
        row(spec, at, evaluation_return=mean, evaluated_at=at)
        for at, mean in zip(marks, means, strict=True)
    ]
    write_attempt(folder, spec, told)


def test_the_best_checkpoint_has_a_table_beside_that_of_final_weights(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"])
    evaluated(tmp_path, CARTPOLE, 300.0, 100.0)
    evaluated(tmp_path, TrialSpec(game="CartPole-v1", seed=1), 150.0, 200.0)
    sweep = scores_of(tmp_path)
    assert sweep.games[0].scores == {0: 100.0, 1: 200.0}
    assert sweep.best.games[0].scores == {0: 300.0, 1: 200.0}
    assert sweep.best.aggregates["mean"].value == pytest.approx((250 - 22.65) / (475 - 22.65))
    assert sweep.best.title == (
        "Best checkpoint: each run's highest of 2 evaluations, so biased upwards"
    )


def test_the_best_of_runs_with_more_and_fewer_evaluations_says_so(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"])
    evaluated(tmp_path, CARTPOLE, 300.0)
    evaluated(tmp_path, TrialSpec(game="CartPole-v1", seed=1), 1.0, 2.0, 3.0, 4.0)
    assert "highest of 1 to 4 evaluations" in scores_of(tmp_path).best.title


def test_of_runs_that_were_evaluated_once_there_is_no_best_checkpoint(tmp_path: Path):
    best = scores_of(write_finished(write_order(tmp_path), {"CartPole-v1": [1.0, 2.0]})).best
    assert (best.games, best.aggregates) == ([], {})
    assert "each run was evaluated once" in best.title


def test_the_best_checkpoint_of_a_run_that_goes_on_does_not_count(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"])
    unfinished = row(CARTPOLE, 50, evaluation_return=9.0, evaluated_at=50)
    write_attempt(tmp_path, CARTPOLE, [unfinished])
    assert scores_of(tmp_path).best is None


def test_rows_without_newer_keys_have_a_best_checkpoint_too(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"])
    late = row(CARTPOLE, LENGTH, evaluation_return=5.0, evaluated_at=LENGTH)
    del late["setup_seconds"], late["replay_bytes"]
    early = row(CARTPOLE, 50, evaluation_return=7.0, evaluated_at=50)
    write_attempt(tmp_path, CARTPOLE, [early, late])
    assert scores_of(tmp_path).best.games[0].scores == {0: 7.0}

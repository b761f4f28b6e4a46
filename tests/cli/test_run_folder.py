from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.curve import draw_curve
from cli.records import Recorder, finite, numbers
from cli.run_folder import (
    checkpoint_path,
    cut_progress,
    drop_old_checkpoints,
    read_progress,
    set_newer_aside,
)


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """Three, the oldest first."""
    paths = [checkpoint_path(tmp_path, steps) for steps in (900, 1_000, 20_000)]
    for path in paths:
        path.mkdir()
    return paths


def test_the_newest_two_checkpoints_stay(checkpoints: list[Path]):
    drop_old_checkpoints(checkpoints[0].parent)
    assert [path.exists() for path in checkpoints] == [False, True, True]


def test_newer_checkpoints_are_set_aside_and_not_lost(checkpoints: list[Path]):
    moved = set_newer_aside(checkpoints[0].parent, checkpoints[1])
    assert [path.exists() for path in checkpoints] == [True, True, False]
    assert [path.is_dir() for path in moved] == [True]


def test_rows_past_the_checkpoint_are_dropped(tmp_path: Path):
    lines = [json.dumps({"env_steps": steps}) for steps in (100, 200, 300)]
    (tmp_path / "progress.jsonl").write_text("\n".join(lines) + "\n")
    cut_progress(tmp_path, 200)
    assert read_progress(tmp_path) == [{"env_steps": 100}, {"env_steps": 200}]


def test_a_row_cut_short_is_left_out(tmp_path: Path):
    (tmp_path / "progress.jsonl").write_text('{"env_steps": 100}\n{"env_st')
    assert read_progress(tmp_path) == [{"env_steps": 100}]


def test_a_row_is_on_disk_at_once_and_has_no_nan(tmp_path: Path):
    with Recorder(tmp_path) as recorder:
        recorder.row({"env_steps": 5, "train_return_mean": float("nan")})
        assert read_progress(tmp_path) == [{"env_steps": 5, "train_return_mean": None}]


def test_numbers_of_a_result_are_named_by_their_path():
    result = {"a": {"b": 1, "c": "x", "d": float("inf")}, "config": {"e": 2}, "f": True}
    assert list(numbers(result)) == [("a/b", 1.0)]


def test_numbers_that_json_lacks_become_null():
    assert finite({"x": [float("inf"), 1.5]}) == {"x": [None, 1.5]}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"env_steps": 5, "train_episodes": 0, "train_return_mean": None}],
        [{"env_steps": 5, "evaluation": {"return_mean": 2.0, "returns": [1.0, 3.0]}}],
    ],
)
def test_a_curve_is_drawn_from_whatever_there_is(rows: list, tmp_path: Path):
    draw_curve(rows, tmp_path / "curve.png", title="t")
    assert (tmp_path / "curve.png").stat().st_size > 1000

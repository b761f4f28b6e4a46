from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.curve import draw_curve
from rllib_ez.runs.folder import (
    checkpoint_path,
    cut_progress,
    drop_old_checkpoints,
    read_progress,
    set_newer_aside,
    tidy_up,
)
from rllib_ez.runs.records import Recorder, finite, numbers


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """Three, the oldest first."""
    paths = [checkpoint_path(tmp_path, steps) for steps in (900, 1_000, 20_000)]
    for path in paths:
        path.mkdir()
    return paths


@pytest.mark.parametrize(
    ("keep", "stay"), [(1, [False, False, True]), (2, [False, True, True]), (9, [True] * 3)]
)
def test_so_many_of_the_newest_checkpoints_stay(
    checkpoints: list[Path], keep: int, stay: list[bool]
):
    drop_old_checkpoints(checkpoints[0].parent, keep=keep)
    assert [path.exists() for path in checkpoints] == stay


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_over(folder: Path, kind: str, pid: int) -> Path:
    path = folder / f".checkpoint_000000900.{kind}-{pid}"
    path.mkdir()
    (path / "of").write_text(kind)
    return path


def test_drafts_of_dead_processes_go(tmp_path: Path, dead: int):
    paths = [left_over(tmp_path, "draft", pid) for pid in (dead, os.getpid(), os.getppid())]
    tidy_up(tmp_path)
    assert [path.exists() for path in paths] == [False, False, True]


def test_a_checkpoint_that_was_moved_away_is_moved_back(tmp_path: Path, dead: int):
    left_over(tmp_path, "old", dead)
    left_over(tmp_path, "draft", dead)
    tidy_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_000000900"]
    assert (tmp_path / "checkpoint_000000900" / "of").read_text() == "old"


def test_a_checkpoint_that_was_replaced_goes(checkpoints: list[Path], dead: int):
    old = left_over(checkpoints[0].parent, "old", dead)
    tidy_up(checkpoints[0].parent)
    assert not old.exists()
    assert list(checkpoints[0].iterdir()) == []  # the newer one stays as it is


def test_newer_checkpoints_are_set_aside_and_not_lost(checkpoints: list[Path]):
    moved = set_newer_aside(checkpoints[0].parent, checkpoints[1])
    assert [path.exists() for path in checkpoints] == [True, True, False]
    assert [path.is_dir() for path in moved] == [True]


def test_rows_past_the_checkpoint_are_dropped(tmp_path: Path):
    rows = [{"env_steps": s, "updates": u} for s, u in ((0, 9), (0, 20), (100, 20), (100, 45))]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut_progress(tmp_path, env_steps=100, updates=20)
    assert read_progress(tmp_path) == rows[:3]


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

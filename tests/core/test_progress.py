from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_ez.core.progress import last_evaluation, read_progress


def write(folder: Path, *rows: Any, end: str = "") -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "progress.jsonl").write_text(text + end)


def evaluated(env_steps: int, *returns: float) -> dict[str, Any]:
    found = {"return_mean": sum(returns) / len(returns), "returns": list(returns)}
    return {"env_steps": env_steps, "updates": 0, "evaluation": found}


def test_rows_come_as_they_were_written(tmp_path: Path):
    rows = [{"env_steps": 1, "train_return_mean": None}, evaluated(2, 1.0, 3.0)]
    write(tmp_path, *rows)
    assert read_progress(tmp_path) == rows


def test_a_run_that_has_written_nothing_has_no_rows(tmp_path: Path):
    assert read_progress(tmp_path) == []


@pytest.mark.parametrize("torn", ['{"env_st', "5\n", "null\n", '{"a": 1} {\n', "\x00\x00\n"])
def test_a_torn_line_and_what_follows_is_left_out(tmp_path: Path, torn: str):
    write(tmp_path, {"env_steps": 1}, end=torn + '\n{"env_steps": 2}\n')
    assert read_progress(tmp_path) == [{"env_steps": 1}]


def test_bytes_that_are_no_text_are_a_torn_line(tmp_path: Path):
    (tmp_path / "progress.jsonl").write_bytes(b'{"env_steps": 1}\n{"a": "\xff\xfe')
    assert read_progress(tmp_path) == [{"env_steps": 1}]


def test_the_last_evaluation_up_to_a_checkpoint_is_found(tmp_path: Path):
    rows = [evaluated(100, 1.0), {"env_steps": 150}, evaluated(200, 2.0, 4.0), evaluated(300, 9.0)]
    write(tmp_path, *rows)
    expected = {"return_mean": 3.0, "episodes": 2, "env_steps": 200}
    assert last_evaluation(tmp_path, env_steps=200) == expected
    assert last_evaluation(tmp_path, env_steps=299) == expected


def test_before_the_first_evaluation_there_is_none(tmp_path: Path):
    write(tmp_path, evaluated(100, 1.0))
    assert last_evaluation(tmp_path, env_steps=99) is None
    assert last_evaluation(tmp_path / "nowhere", env_steps=99) is None


@pytest.mark.parametrize(
    "row",
    [
        {"evaluation": {"return_mean": 1.0, "returns": [1.0]}},
        {"env_steps": 1, "evaluation": None},
        {"env_steps": 1, "evaluation": {"return_mean": None, "returns": []}},
        {"env_steps": 1, "evaluation": {"return_mean": float("nan"), "returns": [1.0]}},
        {"env_steps": 1, "evaluation": {"return_mean": 1.0}},
        {"env_steps": "many", "evaluation": {"return_mean": 1.0, "returns": [1.0]}},
    ],
)
def test_rows_of_another_kind_tell_nothing(tmp_path: Path, row: dict[str, Any]):
    write(tmp_path, row)
    assert last_evaluation(tmp_path, env_steps=10) is None


def test_what_cannot_be_read_tells_nothing(tmp_path: Path):
    (tmp_path / "progress.jsonl").mkdir()
    assert last_evaluation(tmp_path, env_steps=10) is None

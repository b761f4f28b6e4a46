from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import ez

QUICK = ["--seconds", "0", "--threads", "1"]


def measured(checkpoint: Path, *args: str) -> dict[str, Any]:
    result = ez("bench", "search", str(checkpoint), "--json", *QUICK, *args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_every_batch_size_has_a_row(checkpoint: Path):
    rows = measured(checkpoint, "--batch-sizes", "1,3")["timings"]
    assert [row["batch_size"] for row in rows] == [1, 3]


def test_simulations_are_those_of_the_run_unless_told(checkpoint: Path):
    rows = measured(checkpoint, "--batch-sizes", "1")["timings"]
    told = measured(checkpoint, "--batch-sizes", "1", "--simulations", "5")["timings"]
    assert (rows[0]["num_simulations"], told[0]["num_simulations"]) == (2, 5)


def test_a_simulation_takes_its_share_of_the_search(checkpoint: Path):
    row = measured(checkpoint, "--batch-sizes", "3", "--simulations", "5")["timings"][0]
    assert row["us_per_simulation"] == pytest.approx(row["ms_per_search"] * 1000 / 15)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_the_share_outside_the_network_is_a_share(checkpoint: Path, engine: str):
    args = ("--batch-sizes", "1", "--simulations", "20", "--engine", engine)
    row = measured(checkpoint, *args)["timings"][0]
    assert 0 <= row["outside_network"] < 1  # two medians: 0 where a noise hides the difference


def test_the_threads_are_told(checkpoint: Path):
    assert measured(checkpoint, "--batch-sizes", "1")["threads"] == 1


def test_the_table_has_a_line_for_each_batch_size(checkpoint: Path):
    result = ez("bench", "search", str(checkpoint), *QUICK, "--batch-sizes", "2,4")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines()[-2:]] == [
        ["2", "2"],
        ["4", "2"],
    ]


@pytest.mark.parametrize("sizes", ["0", "1,", "two", "-1"])
def test_a_batch_size_that_is_no_number_is_refused(checkpoint: Path, sizes: str):
    result = ez("bench", "search", str(checkpoint), "--batch-sizes", sizes)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "batch_sizes must be whole numbers >= 1" in result.stderr


def test_a_search_without_threads_is_refused(checkpoint: Path):
    result = ez("bench", "search", str(checkpoint), "--threads", "0")
    assert (result.exit_code, "threads must be whole numbers >= 1" in result.stderr) == (2, True)


def test_an_engine_that_is_not_there_is_refused(checkpoint: Path):
    result = ez("bench", "search", str(checkpoint), "--engine", "steam")
    assert (result.exit_code, "got 'steam'" in result.stderr) == (2, True)


def test_a_missing_checkpoint_is_named():
    result = ez("bench", "search", "runs/nowhere")
    assert (result.exit_code, "got 'runs/nowhere'" in result.stderr) == (3, True)

"""The search benchmark's own parts: the worker, the runner, the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.search_report import draw, table
from benchmarks.search_runner import cases, run_alone, spread

WORKER = Path(__file__).parents[1] / "benchmarks" / "search_worker.py"
NET = {"kind": "net", "model": "mlp", "B": 8, "A": 2, "S": 50}
TREE = {"kind": "tree", "model": None, "values": "random", "B": 8, "A": 6, "S": 50}


def timed(case: dict[str, Any], worker: str, method: str, ms: float) -> dict[str, Any]:
    return {
        **case,
        "worker": worker,
        "method": method,
        "peak_rss_mib": 100,
        "ms_per_search": {"median": 2 * ms},
        "cpu_ms_per_search": {"median": ms},
        "share_outside_network": {"median": 0.25},
    }


def raw_of(*rows: dict[str, Any], threads: int = 1) -> dict[str, Any]:
    return {
        "machine": {"processor": "P", "cpus": 2, "commit": "abc"},
        "threads": threads,
        "date": "2026-11-22",
        "command": "python -m benchmarks.search",
        "workers": {"rllib_ez": {"versions": {"torch": "2"}}},
        "cases": list(rows),
    }


def line_of(text: str, start: str) -> list[str]:
    """The cells of the table line that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_ratios_are_the_peers_time_over_ours():
    rows = [("rllib_ez", "puct", 2.0), ("rllib_ez", "gumbel", 4.0), ("lightzero", "ez_search", 8.0)]
    rows += [("mctx", "muzero", 7.0), ("mctx", "gumbel", 6.0)]
    text = table(raw_of(*(timed(NET, *row) for row in rows)))
    assert line_of(text, "mlp | 8 | 2")[-4:] == ["4.00x", "3.00x", "2.00x", "1.50x"]


def test_without_peers_the_ratios_are_left_out():
    text = table(raw_of(timed(NET, "rllib_ez", "puct", 2.0)))
    assert line_of(text, "mlp | 8 | 2")[4:] == ["2", *[""] * 8]


def test_with_more_threads_wall_time_is_told():
    text = table(raw_of(timed(NET, "rllib_ez", "puct", 2.0), threads=2))
    assert line_of(text, "mlp | 8 | 2")[4] == "4"


def test_the_tree_is_told_by_simulation_and_root():
    text = table(raw_of(timed(TREE, "rllib_ez", "puct", 2.0)))
    assert line_of(text, "random | 8 | 6")[4] == "5"


def test_a_case_that_did_not_run_has_no_line():
    skipped = {**NET, "worker": "rllib_ez", "method": "puct", "skip": "why"}
    assert "| mlp |" not in table(raw_of(skipped))


def test_a_picture_is_drawn(tmp_path: Path):
    draw(raw_of(timed(NET, "rllib_ez", "puct", 2.0)), tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_the_spread_of_blocks_has_their_median():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}


def test_the_cases_are_those_of_the_peers_benchmark():
    assert sum(case["kind"] == "tree" for case in cases()) == 18
    assert sum(case["kind"] == "net" for case in cases()) == 6


@pytest.mark.slow
def test_the_worker_answers_for_both_methods(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EZ_PEERS", "/nowhere")
    wanted = 'kind=="tree" and (B, A, S, values) == (1, 6, 16, "random") or model=="mlp" and B==1'
    raw = run_alone(WORKER, threads=1, repeats=1, min_seconds=0.0, case_filter=wanted)
    told = [
        (case["kind"], case["method"], sum(case["info"]["root0_visits"])) for case in raw["cases"]
    ]
    assert told == [
        ("tree", "puct", 16),
        ("tree", "gumbel", 16),
        ("net", "puct", 50),
        ("net", "gumbel", 50),
    ]

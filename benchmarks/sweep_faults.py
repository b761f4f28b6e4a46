"""Kills a sweep in the middle, runs the same command again, and looks for rows twice or lost.

    python -m benchmarks.sweep_faults                     # driver, trial, raylet, SIGTERM
    python -m benchmarks.sweep_faults --what driver

Each time a sweep of four trials, two side by side, is under way when `kill -9` hits; the very same
command line is then called until nothing is left. Trials in one process are repeatable to the
bit, so the rows of every trial must equal those of a sweep that nobody disturbed, number by
number, in the same order: seconds and ids apart.

Writes benchmarks/results/sweep_faults/: result.json, table.md. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe_machine
from tuning.reading import read_sweep
from tuning.report.model import Run

FOLDER = Path(__file__).parent / "results" / "sweep_faults"
EZ = [sys.executable, "-m", "cli.main"]
SWEEP = [
    "tune", "--games", "CartPole-v1", "--seeds", "4", "--env-steps", "1500",
    "--checkpoint-every", "300", "--evaluate-every", "750", "--evaluation-episodes", "2",
    "--max-concurrent", "2", "--no-estimate", "--json",
]  # fmt: skip
# What may differ: clocks, and which process wrote a row.
NOT_COMPARED = {"attempt", "resumed_at", "finished"}
CLOCKS = ("seconds", "_seconds")
LONGEST_SECONDS = 600.0


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--what", choices=KILLS, action="append")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.sweep_faults", *sys.argv[1:]]),
        "sweep": "ez " + " ".join(SWEEP),
        "kills": [],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ez-faults-") as folder:
        undisturbed, _ = whole_sweep(Path(folder) / "undisturbed")
        report["rows"] = sum(len(run.rows) for run in undisturbed)
        for what in args.what or KILLS:
            report["kills"].append(disturbed(what, Path(folder) / what, undisturbed))
            print(report["kills"][-1], flush=True)
            (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
            (args.out / "table.md").write_text(table(report))
    sys.exit(any(kill["twice"] or kill["lost"] or kill["differ"] for kill in report["kills"]))


def disturbed(what: str, out: Path, undisturbed: list[Run]) -> dict[str, Any]:
    """One kill and what came of it."""
    began = time.monotonic()
    process = started(out)
    wait_until_under_way(process, out)
    at = sum(run.rows[-1]["progress"] for run in read_sweep(out).runs if run.rows)
    KILLS[what](psutil.Process(process.pid))
    code = process.wait(LONGEST_SECONDS)
    seconds = time.monotonic() - began
    runs, calls = whole_sweep(out, is_finished=what == "trial" and code == 0)
    return {
        "what": what,
        "killed_at": at,
        "exit_code": code,
        "seconds_to_end": round(seconds, 1),
        "calls_after": calls,
        "trials": len(runs),
        "finished": sum(run.is_finished for run in runs),
        "attempts": sum(len({row["attempt"] for row in run.rows}) for run in runs),
        **compared(runs, undisturbed),
    }


def started(out: Path) -> subprocess.Popen[bytes]:
    """The sweep, in a process of its own."""
    log = out.with_suffix(".log").open("ab")
    return subprocess.Popen([*EZ, *SWEEP, "--out", str(out)], stdout=log, stderr=log)


def whole_sweep(out: Path, *, is_finished: bool = False) -> tuple[list[Run], int]:
    """Calls the command until nothing is left; the runs, and how many calls it took."""
    calls = 0
    while not is_finished:
        calls += 1
        code = started(out).wait(LONGEST_SECONDS)
        is_finished = code == 0 and all(run.is_finished for run in read_sweep(out).runs)
        if calls > 3:
            raise RuntimeError(f"still not finished, see {out.with_suffix('.log')}")
    return read_sweep(out).runs, calls


def wait_until_under_way(process: subprocess.Popen[bytes], out: Path) -> None:
    """Until two trials have a checkpoint and some rows after it."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.5)
        runs = read_sweep(out).runs if (out / "sweep.yaml").is_file() else []
        if sum(run.checkpoint is not None and len(run.rows) > 5 for run in runs) >= 2:
            return
    raise RuntimeError(f"never under way, see {out.with_suffix('.log')}")


def kill_driver(driver: psutil.Process) -> None:
    """The command itself."""
    driver.kill()


def kill_trial(driver: psutil.Process) -> None:
    """The process of one trial, as Tune names it."""
    named(driver, "ray::ResourceTrainable")[0].kill()


def kill_raylet(driver: psutil.Process) -> None:
    """What runs all of a machine's processes for Ray."""
    named(driver, "raylet")[0].kill()


def ask_to_end(driver: psutil.Process) -> None:
    """What a cluster's scheduler does before it takes the machine away."""
    driver.send_signal(signal.SIGTERM)


KILLS: dict[str, Callable[[psutil.Process], None]] = {
    "driver": kill_driver,
    "trial": kill_trial,
    "raylet": kill_raylet,
    "sigterm": ask_to_end,
}


def named(driver: psutil.Process, name: str) -> list[psutil.Process]:
    """Processes below the driver whose command begins so."""
    found = []
    for process in driver.children(recursive=True):
        command = process.cmdline()
        if command and Path(command[0].split()[0]).name.startswith(name):
            found.append(process)
    return found


def compared(runs: list[Run], undisturbed: list[Run]) -> dict[str, int]:
    """Rows that are there twice, are lost, or hold other numbers than without the kill."""
    twice = lost = differ = 0
    expected = {(run.game, run.seed): run.rows for run in undisturbed}
    for run in runs:
        want = {row["progress"]: row for row in expected.pop((run.game, run.seed))}
        at = [row["progress"] for row in run.rows]
        twice += len(at) - len(set(at))
        lost += len(want.keys() - set(at))
        differ += sum(numbers(row) != numbers(want.get(row["progress"], {})) for row in run.rows)
    return {"twice": twice, "lost": lost + sum(map(len, expected.values())), "differ": differ}


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    """What must be the same."""
    return {
        name: value
        for name, value in row.items()
        if name not in NOT_COMPARED and not name.endswith(CLOCKS)
    }


def table(report: dict[str, Any]) -> str:
    """For people."""
    lines = [
        "| killed | steps done when killed | exit code | calls after | trials finished | attempts "
        "| rows twice | rows lost | rows that differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {k['what']} | {k['killed_at']:,} | {k['exit_code']} | {k['calls_after']} | "
        f"{k['finished']} of {k['trials']} | {k['attempts']} | {k['twice']} | {k['lost']} | "
        f"{k['differ']} |"
        for k in report["kills"]
    ]
    machine = report["machine"]
    about = f"{report.get('rows')} rows without a kill. {machine['processor']}, "
    return "\n".join([*lines, "", about + f"commit {machine['commit']}; `{report['sweep']}`", ""])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

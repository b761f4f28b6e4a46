"""Trains for an hour with a replay that is soon full, and watches every process's memory.

    python -m benchmarks.soak                 # two runs side by side, 60 minutes
    python -m benchmarks.soak --minutes 3

One run has everything in one process (pixels), one has actors for every role (CartPole). Each is
stopped as a preempted run is, by SIGTERM. Memory is what a process has for itself: resident,
without what it shares. "Full" is when replay has held its capacity of positions; the slope is the
median of the slopes between all pairs of samples after that (Theil and Sen), and after the first
quarter of the time.

Writes benchmarks/results/soak/: RUN.jsonl (every sample), result.json, table.md, memory.png.
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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.processes import DRIVER, memory_by_role

FOLDER = Path(__file__).parent / "results" / "soak"
EVERY_SECONDS = 10.0
CAPACITY = 4000  # positions
MANY = 10**8  # env steps: it is stopped before
MIB = 2**20
RUNS = {
    "one process": ["--env", "toy_pixels"],
    "parallel": [
        "--env", "cartpole", "--num-env-runners", "2", "--num-replay-shards", "1",
        "--num-reanalyse-actors", "1", "--num-learners", "1",
    ],
}  # fmt: skip


def main() -> None:
    """Runs both, then says what memory did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        processes = {name: start(name, Path(folder) / name) for name in args.runs}
        samples = watch(processes, seconds=60 * args.minutes)
        codes = {name: stop(process) for name, process in processes.items()}
        ends = {name: last_row(Path(folder) / name) for name in args.runs}
    report = {
        "machine": machine,
        "command": " ".join(["python -m benchmarks.soak", *sys.argv[1:]]),
        "minutes": args.minutes,
        "replay_capacity": CAPACITY,
        "runs": {
            name: {"exit_code": codes[name], "end": ends[name], "roles": verdicts(samples[name])}
            for name in args.runs
        },
    }
    for name in args.runs:
        lines = "".join(json.dumps(sample) + "\n" for sample in samples[name])
        (args.out / f"{name.replace(' ', '_')}.jsonl").write_text(lines)
    (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "table.md").write_text(table(report))
    draw(args.out / "memory.png", samples)
    print(table(report))


def start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    """Begins a training run that would never end."""
    command = [str(Path(sys.executable).with_name("ez")), "train", *RUNS[name]]
    command += ["--env-steps", str(MANY), "--out", str(folder), "--threads", "1"]
    command += ["--evaluate-every", "0", "--checkpoint-every", "20000"]
    command += ["--set", f"replay_capacity={CAPACITY}", "--set", "decay_at_update=0"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def watch(
    processes: dict[str, subprocess.Popen[bytes]], *, seconds: float
) -> dict[str, list[dict[str, Any]]]:
    """Memory by role, every ten seconds."""
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(EVERY_SECONDS)
        for name, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended by itself with exit code {process.returncode}")
            roles = memory_by_role(process.pid)
            samples[name].append(
                {
                    "seconds": round(time.monotonic() - began, 1),
                    "own": {role: memory.own for role, memory in roles.items()},
                    "object_store": sum(memory.shared for memory in roles.values()),
                }
            )
    return samples


def stop(process: subprocess.Popen[bytes]) -> int:
    """Preempts a run; it saves a checkpoint and ends with 0."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=120)


def last_row(folder: Path) -> dict[str, Any]:
    """How far a run came."""
    rows = (folder / "progress.jsonl").read_text().splitlines()
    row = json.loads(rows[-1])
    return {name: row[name] for name in ("env_steps", "updates", "seconds")}


def verdicts(samples: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What each role's memory did after the first quarter of the time."""
    late = samples[len(samples) // 4 :]
    hours = np.array([sample["seconds"] for sample in late]) / 3600
    series = {role: [s["own"].get(role, 0) for s in late] for role in late[-1]["own"]}
    series["object store"] = [sample["object_store"] for sample in late]
    return {role: verdict(hours, np.array(values)) for role, values in series.items()}


def verdict(hours: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """The slope and the spread of a series of bytes [T] over hours [T], in MiB."""
    first, second = np.triu_indices(len(hours), k=1)
    slopes = (values[second] - values[first]) / (hours[second] - hours[first])
    return {
        "mib_at_end": round(float(values[-1]) / MIB, 1),
        "mib_per_hour": round(float(np.median(slopes)) / MIB, 2),
        "mib_spread": round(float(values.max() - values.min()) / MIB, 1),
    }


def table(report: dict[str, Any]) -> str:
    """The verdicts as Markdown."""
    lines = [
        "| run | role | MiB at the end | slope, MiB per hour | highest - lowest, MiB |",
        "|---|---|---|---|---|",
    ]
    for name, run in report["runs"].items():
        for role, found in sorted(run["roles"].items()):
            lines.append(
                f"| {name} | {role} | {found['mib_at_end']} | {found['mib_per_hour']} "
                f"| {found['mib_spread']} |"
            )
    ends = "; ".join(
        f"{name}: {run['end']['env_steps']:,} env steps, {run['end']['updates']:,} updates, "
        f"exit code {run['exit_code']} after SIGTERM"
        for name, run in report["runs"].items()
    )
    machine = report["machine"]
    lines += [
        "",
        f"{report['minutes']:g} minutes, replay of {report['replay_capacity']:,} positions, both "
        f"runs at once; after the first quarter. {ends}. {machine['processor']}, "
        f"{machine['cpus']} cores, ray {machine['ray']}, commit {machine['commit']}.",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


def draw(path: Path, samples: dict[str, list[dict[str, Any]]]) -> None:
    """Memory over time, a panel a run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(samples), squeeze=False)[0]
    for axes, (name, run) in zip(panels, samples.items(), strict=True):
        minutes = [sample["seconds"] / 60 for sample in run]
        roles = sorted({role for sample in run for role in sample["own"]})
        for role in [DRIVER, *(r for r in roles if r != DRIVER)]:
            axes.plot(minutes, [s["own"].get(role, 0) / MIB for s in run], label=role)
        axes.plot(minutes, [s["object_store"] / MIB for s in run], label="object store", ls="--")
        axes.set(title=name, xlabel="minutes", ylabel="MiB, of all processes of a role")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()

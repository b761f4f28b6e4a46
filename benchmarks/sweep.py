"""Runs a sweep with `ez tune`, keeps its report with what it was measured on.

    python -m benchmarks.sweep atari100k_small --games atari100k --env-steps 300 --seeds 1 \\
        --preset atari100k_small
    python -m benchmarks.sweep classic --games CartPole-v1,Acrobot-v1,LunarLander-v3 --seeds 3

    python -m benchmarks.sweep acrobot_search --games Acrobot-v1 --seeds 2 \\
        --search benchmarks/spaces/acrobot.yaml --num-samples 8

The sweep itself stays in sweeps/NAME, where the same command goes on with it; with --drawn-from DIR
before the options of `ez tune` it lies there and is done, and only its report is made. Writes
benchmarks/results/NAME/: the report of `ez report`, sweep.yaml, result.json, table.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
SWEEPS = Path("sweeps")
EZ = [sys.executable, "-m", "cli.main"]
NOT_KEPT = ("*.svg", "rows.csv")  # what the page or rows.parquet holds already


def main() -> None:
    """Runs it."""
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    sweep, out = SWEEPS / name, RESULTS / name
    began = time.monotonic()
    if arguments[0] == "--drawn-from":
        sweep, arguments, outcome = Path(arguments[1]), arguments[2:], {"ended": 0}
    else:
        outcome = called("tune", *arguments, "--out", str(sweep))
    seconds = time.monotonic() - began
    drawn = called("report", str(sweep), "--out", str(out))
    for pattern in NOT_KEPT:
        for path in out.glob(pattern):
            path.unlink()
    shutil.copyfile(sweep / "sweep.yaml", out / "sweep.yaml")
    result = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.sweep", name, *arguments]),
        "wall_seconds": round(seconds, 1),
        "outcome": outcome,
    }
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "table.md").write_text(table(result, drawn))


def called(*arguments: str) -> dict[str, Any]:
    """What `ez` says in its last line."""
    done = subprocess.run(
        [*EZ, *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"ez {' '.join(arguments)} ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(result: dict[str, Any], drawn: dict[str, Any]) -> str:
    """For people: games, what they add up to, and where the time went."""
    (scores,) = drawn["sweeps"]
    seeds = sorted({seed for game in scores["games"] for seed in game["scores"]}, key=int)
    lines = [
        "| game | random | " + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean | normalised |",
        "|---" * (len(seeds) + 4) + "|",
    ]  # fmt: skip
    for game in scores["games"]:
        each = [shown(game["scores"].get(seed), 1) for seed in seeds]
        cells = [game["game"], shown(game["random"], 1), *each, shown(game["mean"], 1)]
        lines.append("| " + " | ".join([*cells, shown(game["normalised"], 3)]) + " |")
    return "\n".join([*lines, "", *samples(scores), *summary(result, scores), ""])


def samples(scores: dict[str, Any]) -> list[str]:
    """What a search tried, best first; nothing without one."""
    if not scores["samples"]:
        return []
    names = sorted({name for sample in scores["samples"] for name in sample["settings"]})
    lines = [f"Of the best of {len(scores['samples'])} samples. All of them:", ""]
    lines += ["| " + " | ".join([*names, "finished", "normalised"]) + " |"]
    lines += ["|---" * (len(names) + 2) + "|"]
    for sample in scores["samples"]:
        cells = [str(sample["settings"].get(name, "-")) for name in names]
        cells.append(f"{sample['num_finished']} of {sample['num_runs']}")
        lines.append("| " + " | ".join([*cells, shown(sample["normalised"], 3)]) + " |")
    return [*lines, ""]


def summary(result: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """Sentences below the table."""
    machine, seconds = result["machine"], scores["seconds"]
    whole = seconds["seconds"] + seconds["setup_seconds"]
    finished = sum(len(game["scores"]) for game in scores["games"])
    parts = [scores["protocol"]]
    parts.append(
        f"A trial took {whole:.1f} s: {seconds['training_seconds']:.1f} s of training alone, "
        f"{seconds['evaluation_seconds']:.1f} s of evaluation, {seconds['setup_seconds']:.1f} s of "
        f"set-up ({whole / seconds['training_seconds']:.2f} times training alone)."
    )
    if result["outcome"]["ended"] == finished:
        parts.append(
            f"The sweep, from the command to its end: {result['wall_seconds']:.0f} s for "
            f"{finished} trials, with Ray's start and the start of every process."
        )
    versions = f"{machine['processor']}, {machine['cpus']} cores, torch {machine['torch']}"
    return [" ".join(parts), f"{versions}, ray {machine['ray']}, commit {machine['commit']}.", "",
            f"    {result['command']}"]  # fmt: skip


def shown(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

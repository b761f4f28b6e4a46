"""Trains some seeds with `ez train` and keeps curves, table and picture.

    python -m benchmarks.learning cartpole --env cartpole --seeds 0 1 2 3 4 --solved 475
    python -m benchmarks.learning toy_pixels --env toy_pixels --seeds 0 1 2 --solved 2.85

    python -m benchmarks.learning toy_pixels_overlays --env toy_pixels --seeds 0 --solved 2.85 \
        --overlays muzero no_consistency no_value_prefix no_off_policy_correction

Writes benchmarks/results/NAME/: seed-N.jsonl (every evaluation with every return), summary.json
(machine, versions, commit, settings, a row per seed), table.md, curves.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Runs the seeds, `--parallel` at a time, each on one thread."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help="folder under benchmarks/results")
    parser.add_argument("--env", required=True, help="as `ez train --env` takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--env-steps", type=int, help="the preset's own if not given")
    parser.add_argument("--solved", type=float, required=True, help="return that counts as solved")
    parser.add_argument("--parallel", type=int, default=2, help="seeds at a time, a core each")
    parser.add_argument("--overlays", nargs="*", default=[""], help="presets on top, one run each")
    parser.epilog = "What comes after -- goes to `ez train` as it is."
    # argparse hands what follows -- to a positional only if that comes before every option.
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:split])
    args.extra = sys.argv[split + 1 :]
    folder = RESULTS / args.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as runs, ThreadPoolExecutor(args.parallel) as pool:
        variants = [(overlay, seed) for overlay in args.overlays for seed in args.seeds]
        jobs = [(args, variant, Path(runs), folder) for variant in variants]
        rows = list(pool.map(train_one, jobs))
        settings = (Path(runs) / label_of(variants[0]) / "config.yaml").read_text()
    summary = {
        "machine": machine,
        "command": " ".join(["python -m benchmarks.learning", *sys.argv[1:]]),
        "solved_at": args.solved,
        "parallel": args.parallel,
        "rows": rows,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "settings.yaml").write_text(settings)
    (folder / "table.md").write_text(table(summary))
    draw(folder, rows, args.solved)
    print(table(summary))


def label_of(variant: tuple[str, int]) -> str:
    """What a run is called: "seed-0", "muzero-seed-0"."""
    overlay, seed = variant
    return f"{overlay}-seed-{seed}" if overlay else f"seed-{seed}"


def train_one(job: tuple[argparse.Namespace, tuple[str, int], Path, Path]) -> dict[str, Any]:
    """Trains one variant and reduces its curve to a row."""
    args, (overlay, seed), runs, folder = job
    label = label_of((overlay, seed))
    out = runs / label
    command = [str(Path(sys.executable).with_name("ez")), "train", "--env", args.env]
    command += ["--seed", str(seed), "--out", str(out), "--threads", "1", "--json", *args.extra]
    if overlay:
        command += ["--preset", overlay]
    if args.env_steps is not None:
        command += ["--env-steps", str(args.env_steps)]
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{label} failed:\n{done.stderr[-3000:]}")
    final = json.loads(done.stdout.strip().splitlines()[-1])
    rows = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "evaluation" in row]
    (folder / f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations))
    print(f"{label}: {final['return_mean']} after {final['env_steps']} env steps", flush=True)
    return {
        "label": label,
        "seed": seed,
        "env_steps": [row["env_steps"] for row in evaluations],
        "return_mean": [row["evaluation"]["return_mean"] for row in evaluations],
        "stable_from": stable_from(evaluations, args.solved),
        "final_return_mean": final["return_mean"],
        "final_returns": evaluations[-1]["evaluation"]["returns"],
        "num_updates": final["updates"],
        "wall_seconds": final["wall_seconds"],
        "training_seconds": final["training_seconds"],
        "process_seconds": round(time.perf_counter() - began, 1),
        "final": final,
    }


def stable_from(evaluations: list[dict[str, Any]], solved: float) -> int | None:
    """Env steps of the first evaluation after which every one, itself included, is solved."""
    stable = None
    for row in evaluations:
        if row["evaluation"]["return_mean"] < solved:
            stable = None
        elif stable is None:
            stable = row["env_steps"]
    return stable


def table(summary: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| run | stable from (env steps) | final return, mean of episodes | worst final episode "
        "| updates | training s | wall s with set-up and evaluations |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary["rows"]:
        lines.append(
            f"| {row['label']} | {row['stable_from'] or 'never'} | {row['final_return_mean']:.2f} "
            f"| {min(row['final_returns']):g} | {row['num_updates']} "
            f"| {row['training_seconds']} | {row['wall_seconds']} |"
        )
    machine = summary["machine"]
    lines += [
        "",
        f"Solved: mean return >= {summary['solved_at']:g}. {machine['processor']}, "
        f"{machine['cpus']} cores, {summary['parallel']} seeds at a time, one thread each; "
        f"torch {machine['torch']}, ray {machine['ray']}, commit {machine['commit']}.",
        "",
        f"    {summary['command']}",
        "",
    ]
    return "\n".join(lines)


def draw(folder: Path, rows: list[dict[str, Any]], solved: float) -> None:
    """All seeds' evaluations over env steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in rows:
        axes.plot(
            row["env_steps"],
            row["return_mean"],
            marker="o",
            markersize=3,
            label=row["label"],
        )
    axes.axhline(solved, color="0.5", linestyle="--", linewidth=1, label=f"solved, {solved:g}")
    axes.set(title=folder.name, xlabel="env steps", ylabel="evaluation return, mean of episodes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.savefig(folder / "curves.png")


if __name__ == "__main__":
    main()

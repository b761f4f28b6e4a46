"""Trains some seeds with `ez train` and keeps curves, table and picture.

    python -m benchmarks.learning cartpole --env cartpole --seeds 0 1 2 3 4 --solved 475
    python -m benchmarks.learning toy_pixels --env toy_pixels --seeds 0 1 2 --solved 2.7

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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from tuning.statistics import intervals, mean

RESULTS = Path(__file__).parent / "results"
# Trainings end with whoever started them, where the system can see to that.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training to make."""

    label: str  # names its files
    env: str  # as `ez train --env` takes it
    seed: int
    overlay: str = ""  # a preset on top
    env_steps: int | None = None  # None: the preset's own
    extra: Sequence[str] = ()  # more for `ez train`

    def command(self, out: Path) -> list[str]:
        """On one thread, into a folder."""
        command = [*ENDS_WITH_US, str(Path(sys.executable).with_name("ez")), "train"]
        command += ["--env", self.env, "--seed", str(self.seed), "--out", str(out)]
        command += ["--threads", "1", "--json", *self.extra]
        if self.overlay:
            command += ["--preset", self.overlay]
        if self.env_steps is not None:
            command += ["--env-steps", str(self.env_steps)]
        return command


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
    args = parse(parser)
    folder = RESULTS / args.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as runs, ThreadPoolExecutor(args.parallel) as pool:
        todo = [
            Run(
                label=f"seed-{seed}", env=args.env, seed=seed, env_steps=args.env_steps,
                extra=args.extra,
            )
            for seed in args.seeds
        ]  # fmt: skip
        outs = [Path(runs) / run.label for run in todo]
        rows = list(pool.map(lambda run, out: trained_row(run, out, folder, args), todo, outs))
        settings = (outs[0] / "config.yaml").read_text()
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


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; what follows -- is `extra`, for `ez train` as it is."""
    parser.epilog = "What comes after -- goes to `ez train` as it is."
    # argparse hands what follows -- to a positional only if that comes before every option.
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:split])
    args.extra = sys.argv[split + 1 :]
    return args


def trained_row(run: Run, out: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Trains, keeps the curve in `folder`, says so."""
    row, evaluations = train_one(run, out)
    write_lines(folder / f"{run.label}.jsonl", evaluations)
    print(f"{run.label}: {row['final_return_mean']} after {row['final']['env_steps']} env steps")
    return {**row, "stable_from": stable_from(evaluations, args.solved)}


def train_one(run: Run, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trains in the folder `out`.

    Returns:
        The run as a row, and its evaluations, that of the final weights last.

    Raises:
        RuntimeError: it failed, or was stopped before its end.
    """
    began = time.perf_counter()
    done = subprocess.run(
        run.command(out),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{run.label} failed:\n{done.stderr[-3000:]}")
    final = json.loads(done.stdout.strip().splitlines()[-1])
    if final["protocol"]["weights"] != "final":
        raise RuntimeError(f"{run.label} was stopped at {final['env_steps']} env steps")
    rows = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "evaluation" in row]
    return {
        "label": run.label,
        "seed": run.seed,
        "env_steps": [row["env_steps"] for row in evaluations],
        "return_mean": [row["evaluation"]["return_mean"] for row in evaluations],
        "final_return_mean": final["return_mean"],
        "final_returns": evaluations[-1]["evaluation"]["returns"],
        "num_updates": final["updates"],
        "wall_seconds": final["wall_seconds"],
        "training_seconds": final["training_seconds"],
        "process_seconds": round(time.perf_counter() - began, 1),
        "final": final,
    }, evaluations


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def stable_from(evaluations: list[dict[str, Any]], solved: float) -> int | None:
    """Env steps of the first evaluation after which every one, itself included, is solved."""
    stable = None
    for row in evaluations:
        if row["evaluation"]["return_mean"] < solved:
            stable = None
        elif stable is None:
            stable = row["env_steps"]
    return stable


def curve_mean(env_steps: Sequence[float], return_mean: Sequence[float]) -> float:
    """The area under straight lines from evaluation to evaluation, over their span in env steps."""
    if len(env_steps) == 1:
        return float(return_mean[0])
    return float(np.trapezoid(return_mean, env_steps)) / (env_steps[-1] - env_steps[0])


def bootstrap(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean over seeds; None of a single one."""
    found = intervals({"": np.asarray(values)}, {"mean": mean})
    return None if found is None else found["mean"]


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


def draw_panels(folder: Path, found: dict[str, list[dict[str, Any]]], solved: float) -> None:
    """A panel a variant: the mean over seeds with a band; the first variant again, in grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(found))
    columns = min(4, len(found))
    shape = -(-len(found) // columns), columns
    size = (3.2 * shape[1], 2.6 * shape[0] + 0.4)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).flat
    for (variant, rows), axes in zip(found.items(), panels, strict=False):
        if variant != first:
            axes.plot(*band(found[first])[:2], color="0.6")
        steps, middle, low, high = band(rows)
        axes.plot(steps, middle, color="C0")
        axes.fill_between(steps, low, high, color="C0", alpha=0.25, linewidth=0)
        axes.axhline(solved, color="0.5", linestyle="--", linewidth=1)
        axes.set_title(f"{variant} ({len(rows)} seeds)", fontsize=9)
        axes.grid(alpha=0.3)
    for axes in panels:
        axes.set_visible(False)
    figure.supxlabel("env steps", fontsize=9)
    figure.supylabel("evaluation return", fontsize=9)
    title = f"{folder.name}: mean over seeds, 95 % bootstrap; grey: {first}"
    figure.suptitle(title, fontsize=9)
    figure.savefig(folder / "curves.png")


def band(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Env steps that all runs reach, the mean over runs there, and its interval: [M] each."""
    first = max(row["env_steps"][0] for row in rows)
    last = min(row["env_steps"][-1] for row in rows)
    steps = np.unique([s for row in rows for s in row["env_steps"] if first <= s <= last])
    runs = np.stack([np.interp(steps, row["env_steps"], row["return_mean"]) for row in rows])
    middle = runs.mean(0)
    ends = [bootstrap(at) or (m, m) for at, m in zip(runs.T, middle, strict=True)]
    return steps, middle, *np.transpose(ends)


if __name__ == "__main__":
    main()

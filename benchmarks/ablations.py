"""What each part of the algorithm is worth: the whole of it beside variants, over many seeds.

    python -m benchmarks.ablations ablations_cartpole --env cartpole
    python -m benchmarks.ablations ablations_toy_pixels --env toy_pixels --seeds 0 1 2 3 4

Variants are overlays; `full` is none. Each run is kept in benchmarks/results/NAME/ once it ends
(VARIANT-seed-N.jsonl: its evaluations, .json: the rest), seed by seed over all variants. The same
call again makes only what is missing. After every run: table.md, summary.json, curves.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import learning
from benchmarks.learning import Run, bootstrap
from benchmarks.machine import describe_machine
from rllib_ez.algorithm.presets import load_preset
from rllib_ez.runs.protocol import AtariRules, Protocol
from rllib_ez.runs.provenance import read_machines, versions

FULL = "full"
VARIANTS = (
    FULL, "muzero", "no_consistency", "no_value_prefix", "no_off_policy_correction", "infonce",
    "no_reanalyse",
)  # fmt: skip
SOLVED = {"cartpole": 475.0, "toy_pixels": 2.7}  # mean return of the final evaluation
COLUMNS = (
    "variant", "runs", "final return, mean", "every seed's final return", "solved",
    "mean over the curve", "final return minus full's", "mean over the curve minus full's",
    "training s, mean",
)  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    """Makes the runs that are missing, then the table of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help="folder under benchmarks/results")
    parser.add_argument("--env", required=True, help="as `ez train --env` takes it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="overlays, and full")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--env-steps", type=int, help="the preset's own if not given")
    parser.add_argument("--solved", type=float, help=f"return that counts as solved; {SOLVED}")
    parser.add_argument("--results", type=Path, default=learning.RESULTS, help="where NAME lies")
    args = learning.parse(parser)
    args.solved = SOLVED.get(args.env) if args.solved is None else args.solved
    if args.solved is None:
        parser.error(f"--solved must be given for other environments than {', '.join(SOLVED)}")
    for variant in args.variants:
        if overlay := overlay_of(variant):
            load_preset(overlay)  # a wrong name fails now
    folder = args.results / args.name
    folder.mkdir(parents=True, exist_ok=True)
    check_same_question(folder, {"env": args.env, "env_steps": args.env_steps, "extra": args.extra})
    failed = make_missing(args, folder)
    print(shown.read_text() if (shown := folder / "table.md").exists() else "no run has ended")
    sys.exit(f"failed: {', '.join(failed)}; the same call tries them again" if failed else 0)


def overlay_of(variant: str) -> str:
    """The preset that makes a variant; none for the whole algorithm."""
    return "" if variant == FULL else variant


def check_same_question(folder: Path, question: Row) -> None:
    """Keeps what all runs in a folder share.

    Raises:
        SystemExit: the folder holds runs of something else.
    """
    path = folder / "question.json"
    if path.exists() and (before := json.loads(path.read_text())) != question:
        sys.exit(f"{path} must hold {question}, got {before}; choose another name")
    path.write_text(json.dumps(question) + "\n")


def plan(args: argparse.Namespace) -> list[tuple[str, Run]]:
    """All runs with their variants, seed by seed, so that one broken off is balanced."""
    return [
        (
            variant,
            Run(
                label=f"{variant}-seed-{seed}", env=args.env, seed=seed,
                overlay=overlay_of(variant), env_steps=args.env_steps, extra=args.extra,
            ),
        )
        for seed in args.seeds
        for variant in args.variants
    ]  # fmt: skip


def make_missing(args: argparse.Namespace, folder: Path) -> list[str]:
    """Trains what has no result yet, and says after each how long the rest will take.

    Returns:
        The labels of the runs that failed; the others are made all the same.
    """
    runs = plan(args)
    missing = [(v, run) for v, run in runs if not (folder / f"{run.label}.json").exists()]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there", flush=True)
    machine, failed = describe_machine(), []
    began = time.monotonic()
    report(args, folder)
    pool = ThreadPoolExecutor(args.parallel)
    try:
        jobs = {pool.submit(keep, v, run, folder, machine): run.label for v, run in missing}
        for done, job in enumerate(as_completed(jobs), start=1):
            try:
                told = f"{job.result()['final_return_mean']:g}"
            except Exception as error:  # the other runs are worth having
                told = str(error)
                failed.append(jobs[job])
            left = eta_seconds(time.monotonic() - began, done, len(missing))
            print(
                f"{done}/{len(missing)} {jobs[job]}: {told}; {left / 3600:.1f} h left", flush=True
            )
            report(args, folder)
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def keep(variant: str, run: Run, folder: Path, machine: Row) -> Row:
    """Trains, and writes everything that is kept; the .json comes last, and whole."""
    with tempfile.TemporaryDirectory(prefix="ablations-") as temporary:
        out = Path(temporary) / run.label
        row, evaluations = learning.train_one(run, out)
        provenance = read_machines(out)[-1]
        (folder / f"{variant}.yaml").write_text((out / "config.yaml").read_text())
    row |= {"variant": variant, "config_hash": provenance["config_hash"], "machine": machine}
    learning.write_lines(folder / f"{run.label}.jsonl", evaluations)
    draft = folder / f".{run.label}.json"
    draft.write_text(json.dumps(row, indent=1) + "\n")
    draft.replace(folder / f"{run.label}.json")
    return row


def eta_seconds(elapsed: float, done: int, total: int) -> float:
    """What is left if the rest goes at the speed so far."""
    return elapsed / done * (total - done)


def report(args: argparse.Namespace, folder: Path) -> None:
    """Table, numbers and picture of what is there by now."""
    rows = [
        json.loads(path.read_text())
        for _, run in plan(args)
        if (path := folder / f"{run.label}.json").exists()
    ]
    by_variant = {v: [row for row in rows if row["variant"] == v] for v in args.variants}
    found = {variant: rows for variant, rows in by_variant.items() if rows}
    if not found:
        return
    summary = {
        "command": " ".join(["python -m benchmarks.ablations", *sys.argv[1:]]),
        "solved_at": args.solved,
        "runs_wanted": len(args.seeds),
        "parallel": args.parallel,
        "variants": [compared(v, rows, found.get(FULL), args.solved) for v, rows in found.items()],
        "notes": notes(found),
        "rows": rows,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "table.md").write_text(table(summary))
    learning.draw_panels(folder, found, args.solved)


def compared(variant: str, rows: list[Row], full: list[Row] | None, solved: float) -> Row:
    """A variant's runs in numbers, and by how much they differ from the whole algorithm's."""
    final, curve = finals(rows), curve_means(rows)
    others = None if variant == FULL else full
    return {
        "variant": variant,
        "seeds": [row["seed"] for row in rows],
        "finals": final,
        "final_mean": float(np.mean(final)),
        "final_interval": bootstrap(final),
        "solved": sum(value >= solved for value in final),
        "curve_means": curve,
        "curve_mean": float(np.mean(curve)),
        "curve_interval": bootstrap(curve),
        "final_difference": difference(final, finals(others)) if others else None,
        "curve_difference": difference(curve, curve_means(others)) if others else None,
        "training_seconds": float(np.mean([row["training_seconds"] for row in rows])),
    }


def finals(rows: list[Row]) -> list[float]:
    """Each run's score: the mean return of the evaluation of its final weights."""
    return [row["final_return_mean"] for row in rows]


def curve_means(rows: list[Row]) -> list[float]:
    """Each run's mean height of the curve; see `curve_mean`."""
    return [learning.curve_mean(row["env_steps"], row["return_mean"]) for row in rows]


def difference(values: Sequence[float], others: Sequence[float]) -> Row:
    """By how much the means differ, with Welch's 95 % interval; None if a side is a single run.

        d +- t(0.975, nu) * sqrt(a + b),   a = var(values) / n,   b = var(others) / m
        nu = (a + b)^2 / (a^2 / (n - 1) + b^2 / (m - 1))

    Nothing wide where on neither side any two runs differ.
    """
    from scipy.stats import t

    sides = np.asarray(values, np.float64), np.asarray(others, np.float64)
    d = float(sides[0].mean() - sides[1].mean())
    if min(map(len, sides)) < 2:
        return {"mean": d, "interval": None}
    a, b = (side.var(ddof=1) / len(side) for side in sides)
    if a + b == 0.0:
        return {"mean": d, "interval": (d, d)}
    freedom = (a + b) ** 2 / (a**2 / (len(sides[0]) - 1) + b**2 / (len(sides[1]) - 1))
    half = float(t.ppf(0.975, freedom) * np.sqrt(a + b))
    return {"mean": d, "interval": (d - half, d + half)}


def notes(found: dict[str, list[Row]]) -> list[str]:
    """What a reader must know: how scores came about, and where settings are not as they seem."""
    sentences: dict[str, list[str]] = {}
    hashes: dict[str, list[str]] = {}
    for variant, rows in found.items():
        for sentence in {protocol_sentence(row) for row in rows}:
            sentences.setdefault(sentence, []).append(variant)
        for one in {row["config_hash"] for row in rows}:
            hashes.setdefault(one, []).append(variant)
    every = len(found)
    told = [s if len(v) == every else f"{', '.join(v)}: {s}" for s, v in sentences.items()]
    told += [f"Equal settings: {', '.join(v)}." for v in hashes.values() if len(v) > 1]
    told += [
        f"{variant}: return for return as {FULL} in each of its {len(rows)} runs; "
        "what it leaves out does nothing here."
        for variant, rows in found.items()
        if variant != FULL and are_alike(rows, found.get(FULL, []))
    ]
    mixed = [v for v, rows in found.items() if len({row["config_hash"] for row in rows}) > 1]
    return told + ([f"Settings differ between the seeds of {', '.join(mixed)}."] if mixed else [])


def are_alike(rows: list[Row], others: list[Row]) -> bool:
    """Whether each run has a run of the same seed among the others, with the same evaluations."""
    curves = {row["seed"]: (row["env_steps"], row["return_mean"]) for row in others}
    return all(curves.get(row["seed"]) == (row["env_steps"], row["return_mean"]) for row in rows)


def protocol_sentence(row: Row) -> str:
    """How the run was scored; each run has a seed of its own."""
    told = row["final"]["protocol"]
    named = {name: told[name] for name in ("weights", "episodes", "num_simulations")}
    atari = None if told["atari"] is None else AtariRules(**told["atari"])
    return Protocol(**named, seed=None, atari=atari).sentence


def table(summary: Row) -> str:
    """The variants as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in summary["variants"]:
        cells = [
            row["variant"],
            f"{len(row['finals'])} of {summary['runs_wanted']}",
            with_interval(row["final_mean"], row["final_interval"]),
            ", ".join(f"{value:.4g}" for value in row["finals"]),
            f"{row['solved']} of {len(row['finals'])}",
            with_interval(row["curve_mean"], row["curve_interval"]),
            *(
                with_interval(one["mean"], one["interval"], sign="+") if one else ""
                for one in (row["final_difference"], row["curve_difference"])
            ),
            f"{row['training_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", foot(summary), "", f"    {summary['command']}", ""])


def with_interval(value: float, interval: Sequence[float] | None, *, sign: str = "") -> str:
    """ "2.5 [2.1, 2.8]"."""
    ends = "" if interval is None else " [{:{s}.4g}, {:{s}.4g}]".format(*interval, s=sign)
    return f"{value:{sign}.4g}{ends}"


def foot(summary: Row) -> str:
    """How the numbers came about, and on what."""
    machines = [row["machine"] for row in summary["rows"]]
    commits = ", ".join(sorted({one["commit"] for one in machines}))
    return (
        f"{' '.join(summary['notes'])} Solved: a score >= {summary['solved_at']:g}. Mean over the "
        "curve: the area under a run's evaluations over their span in env steps. In brackets 95 % "
        "intervals over seeds: of means the percentile bootstrap (too narrow for few seeds: around "
        "5 normal draws it holds 84 %), of differences Welch's, none corrected for their number. "
        f"{machines[-1]['processor']}, {machines[-1]['cpus']} cores, {summary['parallel']} runs at "
        f"a time, one thread each; {versions(machines[-1])}, commit {commits}."
    )


if __name__ == "__main__":
    main()

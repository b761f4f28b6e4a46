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
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks import learning
from benchmarks.ablations_report import FULL, Row, compared, notes, table
from benchmarks.learning import Run
from benchmarks.machine import describe_machine
from rllib_ez.algorithm.presets import load_preset
from rllib_ez.runs.provenance import read_machines

VARIANTS = (
    FULL, "muzero", "no_consistency", "no_value_prefix", "no_off_policy_correction", "infonce",
    "no_reanalyse",
)  # fmt: skip
SOLVED = {"cartpole": 475.0, "toy_pixels": 2.7}  # mean return of the final evaluation


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


if __name__ == "__main__":
    main()

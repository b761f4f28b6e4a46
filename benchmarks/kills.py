"""Kills every role for real, many times in a row, and counts what was lost.

    python -m benchmarks.kills            # 20 times each
    python -m benchmarks.kills --times 3

Env runners and reanalyse actors are killed in one run that goes on all the while; a learner and a
replay shard end the run each time, which is resumed from its checkpoint; the driver is killed by
`kill -9` at a random time, and `ez train --resume` goes on. After each kill all counters must be
exact and replay whole; every episode that was reported must be in the archive.

Writes benchmarks/results/kills/: result.json (every kill), table.md. Stops at the first failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

FOLDER = Path(__file__).parent / "results" / "kills"
EZ = str(Path(sys.executable).with_name("ez"))
SMALL = [
    "--env", "CartPole-v1", "--threads", "1", "--evaluate-every", "0", "--evaluation-episodes", "1",
    *(f"--set={setting}" for setting in (
        "num_simulations=4", "hidden_size=16", "lstm_size=8", "head_hidden_size=8",
        "projection_size=16", "prediction_hidden_size=8", "batch_size=16", "replay_ratio=0.25",
        "num_random_steps=80", "target_update_every_updates=5", "replay_capacity=2000",
    )),
]  # fmt: skip


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--minutes", type=float, help="begin no kill after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    began = time.perf_counter()
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.kills", *sys.argv[1:]]),
        "seed": args.seed,
        "kills": {},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for role, row in kills(args.times, random.Random(args.seed)):
        print(role, row, flush=True)
        report["kills"].setdefault(role, []).append(row)
        report["seconds"] = round(time.perf_counter() - began, 1)
        (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
        (args.out / "table.md").write_text(table(report))
        if args.minutes is not None and report["seconds"] > 60 * args.minutes:
            break
    print(table(report))


def kills(times: int, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every kill, one after the other: the role and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        yield from kill_replaceable(times, rng)
        for n in range(times):
            yield "driver", kill_driver(Path(folder) / f"run-{n}", rng)
        yield from kill_irreplaceable(times, Path(folder) / "checkpoint")


def kill_driver(run: Path, rng: random.Random) -> dict[str, Any]:
    """One run, killed and resumed."""
    wait = rng.uniform(0.0, 4.0)
    command = [EZ, "train", *SMALL, "--env-steps", "1000000", "--checkpoint-every", "200"]
    process = subprocess.Popen(
        [*command, "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list(run.glob("checkpoint_*")):
        assert process.poll() is None, f"ended by itself: {process.returncode}"
        time.sleep(0.05)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows = complete_rows(run / "progress.jsonl")
    checkpoint = max(steps_of(path) for path in run.glob("checkpoint_*"))
    reported = sum(row["train_episodes"] for row in rows if "train_episodes" in row)
    archived = num_archived(run)
    assert archived >= reported, f"{reported} episodes were reported, {archived} are archived"
    lost = rows[-1]["env_steps"] - checkpoint
    assert lost <= 200 + 80, f"{lost} env steps since the last checkpoint"
    goal = checkpoint + 200
    done = subprocess.run(
        [EZ, "train", "--resume", str(run), "--env-steps", str(goal), "--json"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["env_steps"] >= goal
    assert summary["updates"] == summary["env_steps"] // 4, summary
    return {
        "killed_after_seconds": round(wait, 2),
        "env_steps_since_checkpoint": lost,
        "episodes_reported": reported,
        "episodes_archived": archived,
        "env_steps": summary["env_steps"],
        "updates": summary["updates"],
    }


def complete_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that were written whole."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def steps_of(checkpoint: Path) -> int:
    """Env steps in a checkpoint's name."""
    return int(checkpoint.name.split("_")[1])


def num_archived(run: Path) -> int:
    """Episodes in a run's archive."""
    from rllib_ez.core.replay.archive import read_summaries

    return len(read_summaries(run / "episodes"))


@contextmanager
def training() -> Iterator[Any]:
    """A run with actors for every role, on a Ray of its own."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    from tests.algorithm.conftest import small_cartpole
    from tests.algorithm.kills import train_until

    ray.init(address="local", num_cpus=16, include_dashboard=False, log_to_driver=False)
    config = small_cartpole().training(num_replay_shards=1, num_reanalyse_actors=1)
    config.num_env_runners, config.num_learners = 2, 1
    algorithm = config.build_algo()
    train_until(algorithm, lambda: algorithm.pipeline.num_updates >= 20)
    yield algorithm
    ray.shutdown()


def kill_replaceable(times: int, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Env runners and searchers of one run that goes on."""
    with training() as algorithm:
        for role in ("env runner", "reanalyse actor"):
            for _ in range(times):
                yield role, kill_worker(algorithm, role, rng)
        algorithm.stop()


def kill_irreplaceable(times: int, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Learners and shards, in turn, of a run and its resumed successors."""
    with training() as algorithm:
        for _ in range(times):
            for role in ("learner", "replay shard"):
                algorithm, row = kill_and_resume(algorithm, role, path)
                yield role, row
        algorithm.stop()


def kill_worker(algorithm: Any, role: str, rng: random.Random) -> dict[str, Any]:
    """Kills what is made anew while training goes on."""
    from tests.algorithm.kills import assert_exact, kill, train_until

    pipeline = algorithm.pipeline
    if role == "env runner":
        stage, worker = pipeline.sampling, rng.choice(pipeline.sampling.runners).worker
    else:
        stage, worker = pipeline.preparation, pipeline.preparation.searchers[0].worker
    lost, steps, began = stage.num_lost, pipeline.num_env_steps, time.monotonic()
    kill(worker)
    train_until(algorithm, lambda: stage.num_lost > lost, seconds=120)
    train_until(algorithm, everybody_is_back(pipeline), seconds=120)
    train_until(algorithm, lambda: pipeline.num_env_steps > steps + 80, seconds=120)
    assert_exact(algorithm)
    return counts_of(algorithm, began)


def everybody_is_back(pipeline: Any) -> Callable[[], bool]:
    """Whether every env runner has answered since it was lost."""
    return lambda: all(runner.birth is not None for runner in pipeline.sampling.runners)


def kill_and_resume(algorithm: Any, role: str, path: Path) -> tuple[Any, dict[str, Any]]:
    """Kills what ends a run; returns its successor."""
    from tests.algorithm.kills import assert_exact, kill, train_until

    algorithm.save_to_path(path)
    pipeline, began = algorithm.pipeline, time.monotonic()
    counts = pipeline.counts()
    kill({"learner": pipeline.learning.learners, "replay shard": pipeline.shards.workers}[role][0])
    told = what_ended(algorithm)
    assert role in told, told
    algorithm.stop()
    resumed = type(algorithm).from_checkpoint(str(path))
    now = resumed.pipeline.counts()
    assert (now.num_updates, now.num_env_steps) == (counts.num_updates, counts.num_env_steps)
    goal = now.num_env_steps + 80
    train_until(resumed, lambda: resumed.pipeline.num_env_steps >= goal, seconds=120)
    assert_exact(resumed)
    return resumed, counts_of(resumed, began)


def what_ended(algorithm: Any) -> str:
    """Trains until a worker that cannot be replaced is missed."""
    from rllib_ez.errors import WorkerLostError
    from tests.algorithm.kills import train_until

    try:
        train_until(algorithm, lambda: False, seconds=60)
    except WorkerLostError as error:
        return str(error)
    raise AssertionError("training must end, and did not")


def counts_of(algorithm: Any, began: float) -> dict[str, Any]:
    """Where a run stands after a kill."""
    pipeline = algorithm.pipeline
    return {
        "seconds": round(time.monotonic() - began, 1),
        "env_steps": pipeline.num_env_steps,
        "updates": pipeline.num_updates,
    }


def table(report: dict[str, Any]) -> str:
    """How often each role was killed, as Markdown."""
    lines = ["| killed | times in a row | what followed |", "|---|---|---|"]
    follows = {
        "driver": "`ez train --resume`; never more lost than since the last checkpoint",
        "env runner": "restarted while training went on",
        "reanalyse actor": "restarted while training went on",
        "learner": "the run ended with its error, resumed from its checkpoint",
        "replay shard": "the run ended with its error, resumed from its checkpoint",
    }
    for role, rows in report["kills"].items():
        lines.append(f"| {role} | {len(rows)} | {follows[role]} |")
    drivers = report["kills"].get("driver", [])
    most = max((row["env_steps_since_checkpoint"] for row in drivers), default=0)
    reported = sum(row["episodes_reported"] for row in drivers)
    archived = sum(row["episodes_archived"] for row in drivers)
    machine = report["machine"]
    lines += [
        "",
        "After every kill: replay's invariants hold, num_updates == floor(0.25 x num_env_steps), "
        f"env steps counted by driver and replay agree. Drivers: at most {most} env steps since "
        f"the last checkpoint (one every 200), {reported} episodes reported, {archived} archived. "
        f"{report['seconds']:.0f} s, {machine['cpus']} cores, ray {machine['ray']}, commit "
        f"{machine['commit']}.",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""What the pipeline adds to the slowest stage: stages that sleep, everything else is real.

    python -m benchmarks.pipeline
    python -m benchmarks.pipeline --layouts 2111 --slowest learning --prefetch 2 4 8

The targets of a batch take 60 ms, so does its update, and a vector step takes 40 ms. Two learners
or two reanalyse actors share the work on a batch. With all costs at 0 what is left is overhead,
ours and RLlib's. Writes benchmarks/results/pipeline/result.json and table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.processes import cpu_seconds, machine_cpu_seconds
from benchmarks.simulated import Costs, SimulatedConfig, write_random_episodes
from cli.quiet_ray import local_ray

FOLDER = Path(__file__).parent / "results" / "pipeline"
LAYOUTS = ("0000", "2111", "2110", "4222", "1010")
COSTS = Costs(vector_step=0.04, batch=0.06, learn=0.06)
ENVS, BATCH_SIZE, TARGET_EVERY, WARM_STEPS = 8, 32, 25, 20_000
TARGET_RATIO = 1.15
UPDATES_PER_STEP = {  # of one runner, so that sampling takes 20, or 100 ms per update
    "learning": 0.25,
    "sampling": 0.05,
    "nothing": 0.25,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run."""

    layout: str  # runners, shards, reanalyse actors, learners
    slowest: str  # of UPDATES_PER_STEP
    prefetch: int

    @property
    def counts(self) -> list[int]:
        """Runners, shards, reanalyse actors, learners."""
        return [int(digit) for digit in self.layout]

    @property
    def costs(self) -> Costs:
        """What the stages take."""
        return Costs() if self.slowest == "nothing" else COSTS

    @property
    def replay_ratio(self) -> float:
        """Gradient updates per env step; more runners do not make sampling faster."""
        return UPDATES_PER_STEP[self.slowest] / max(1, self.counts[0])

    def stage_seconds(self) -> dict[str, float]:
        """What each stage takes per update when all its workers are busy."""
        runners, shards, searchers, learners = (max(1, count) for count in self.counts)
        searchers = searchers if self.counts[2] else shards
        return {
            "sampling": self.costs.vector_step / (ENVS * runners * self.replay_ratio),
            "reanalyse": self.costs.batch / searchers,
            "learning": self.costs.learn / learners,
        }

    def floor_seconds(self) -> float:
        """The least an update can take: the slowest stage; all together in one process."""
        stages = self.stage_seconds().values()
        return max(stages) if any(self.counts) else sum(stages)

    def config(self, episodes: Path) -> SimulatedConfig:
        """The real algorithm with stages that sleep."""
        runners, shards, searchers, learners = self.counts
        config = SimulatedConfig().environment("CartPole-v1")
        config.debugging(seed=0, log_level="ERROR")
        config.training(
            num_env_runners=runners,
            num_replay_shards=shards,
            num_reanalyse_actors=searchers,
            num_learners=learners,
            num_envs_per_env_runner=ENVS,
            prefetch_batches=self.prefetch,
            replay_ratio=self.replay_ratio,
            batch_size=BATCH_SIZE,
            reanalyse_batch_size=1024,  # a batch is searched in one call, or in one per searcher
            target_update_every_updates=TARGET_EVERY,
            num_random_steps=0,
            from_episodes=str(episodes),
        )
        config.costs = self.costs
        return config


class Timed:
    """A function that notes how long it took in all."""

    def __init__(self, function: Any) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self) -> None:
        """Runs it."""
        start = time.perf_counter()
        self._function()
        self.seconds += time.perf_counter() - start


def main() -> None:
    """Runs the cases one after the other and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, help="digits: runners, shards, "
                        "reanalyse actors, learners")  # fmt: skip
    parser.add_argument("--slowest", nargs="+", default=list(UPDATES_PER_STEP))
    parser.add_argument("--prefetch", type=int, nargs="+", default=[4], help="prefetch_batches")
    parser.add_argument("--updates", type=int, default=200, help="measured, after 50 to warm up")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    rows = []
    for slowest in args.slowest:
        for layout in args.layouts:
            for prefetch in args.prefetch if any(map(int, layout)) else args.prefetch[:1]:
                case = Case(layout=layout, slowest=slowest, prefetch=prefetch)
                rows.append(run(case, num_updates=args.updates))
                print(json.dumps(rows[-1]), flush=True)
    report = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.pipeline", *sys.argv[1:]]),
        "niceness": [os.nice(0), os.environ.get("RAY_worker_niceness", "15")],  # ours, workers'
        "costs": asdict(COSTS),
        "rows": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "table.md").write_text(table(report))
    print(table(report))


def run(case: Case, *, num_updates: int, warm_up: int = 50) -> dict[str, Any]:
    """Measures a case in steady state, over at least so many updates."""
    with tempfile.TemporaryDirectory() as folder, local_ray(num_cpus=16):
        write_random_episodes(Path(folder), case.config(Path(folder)), num_steps=WARM_STEPS)
        algo = case.config(Path(folder)).build_algo()
        algo.pipeline.work = work = Timed(algo.pipeline.work)
        train_until(algo, warm_up)
        before, seconds = snapshot(algo, work), algo.pipeline.seconds()
        num_calls = train_until(algo, before["updates"] + num_updates)
        after = snapshot(algo, work)
        stages = differences(seconds, algo.pipeline.seconds())
        algo.stop()
    row = reduced(case, {name: after[name] - before[name] for name in before}, stages, num_calls)
    check_nothing_was_skipped(case, row)
    return row


def train_until(algo: Any, num_updates: int) -> int:
    """Calls `train` until so many updates are made; returns the number of calls."""
    calls = 0
    while algo.pipeline.num_updates < num_updates:
        algo.train()
        calls += 1
    return calls


def snapshot(algo: Any, work: Timed) -> dict[str, float]:
    """Clocks and counters now."""
    return {
        "updates": algo.pipeline.num_updates,
        "env_steps": algo.pipeline.num_env_steps,
        "wall": time.perf_counter(),
        "working": work.seconds,
        "process_time": time.process_time(),
        "machine_cpu": machine_cpu_seconds(),
        **{f"{role} cpu": seconds for role, seconds in cpu_seconds().items()},
    }


def differences(
    before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Seconds by "role stage" between two readings."""
    return {
        f"{role} {stage}": seconds - before[role].get(stage, 0.0)
        for role, stages in after.items()
        for stage, seconds in stages.items()
    }


def reduced(
    case: Case, spent: dict[str, float], stages: dict[str, float], num_calls: int
) -> dict[str, Any]:
    """A row: times in ms per update."""
    updates, wall = spent["updates"], spent["wall"]
    cpu = {name.removesuffix(" cpu"): s for name, s in spent.items() if name.endswith(" cpu")}
    each, floor = 1e3 * wall / updates, 1e3 * case.floor_seconds()
    return {
        **asdict(case),
        "updates": int(updates),
        "env_steps": int(spent["env_steps"]),
        "ms_per_update": round(each, 2),
        "floor_ms": round(floor, 2),
        "ratio": round(each / floor, 3) if floor else None,
        "driver_cpu_ms": round(1e3 * spent["process_time"] / updates, 2),
        "cpu_ms": {role: round(1e3 * s / updates, 2) for role, s in cpu.items()},
        "stages_ms": {n: round(1e3 * s / updates, 2) for n, s in stages.items()},
        "train_calls": num_calls,
        "ms_outside_pipeline_per_call": round(1e3 * (wall - spent["working"]) / num_calls, 2),
        "cores_used_by_others": round((spent["machine_cpu"] - sum(cpu.values())) / wall, 2),
    }


def check_nothing_was_skipped(case: Case, row: dict[str, Any]) -> None:
    """Raises RuntimeError if a stage slept less than it should (targets remembered) or more."""
    costs = {"reanalyse reanalyse": case.costs.batch, "learner learn": case.costs.learn}
    for stage, cost in costs.items():
        slept = row["stages_ms"][stage] / 1e3
        if cost and not 0.97 < slept / cost < 1.25:
            raise RuntimeError(f"{stage} must take {cost} s per update, got {slept} in {row}")


def table(report: dict[str, Any]) -> str:
    """Both halves as Markdown: with costs, and without."""
    rows = report["rows"]
    lines = [
        "| runners, shards, reanalyse, learners | slowest | prefetch | ms per update "
        "| slowest stage alone, ms | ratio | driver CPU, ms per update "
        "| CPU of all processes, ms per update | cores used by others |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["ratio"] is not None:
            lines.append(
                f"| {', '.join(row['layout'])} | {row['slowest']} | {row['prefetch']} "
                f"| {row['ms_per_update']:.1f} | {row['floor_ms']:.0f} | {row['ratio']:.2f} "
                f"| {row['driver_cpu_ms']:.1f} | {sum(row['cpu_ms'].values()):.1f} "
                f"| {row['cores_used_by_others']:.2f} |"
            )
    lines += ["", "In one process (0, 0, 0, 0) the stages add up.", ""]
    lines += overhead_table([row for row in rows if row["ratio"] is None])
    machine = report["machine"]
    lines += [
        f"{machine['processor']}, {machine['cpus']} cores, ray {machine['ray']}, commit "
        f"{machine['commit']}. A batch and its update take 60 ms each, a vector step of {ENVS} "
        "environments 40 ms; all of it is slept. Niceness of the driver, and of Ray's workers: "
        f"{report['niceness']}.",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


def overhead_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is left when every stage takes no time."""
    if not rows:
        return []
    lines = [
        "Nothing sleeps: what is left is overhead.",
        "",
        "| runners, shards, reanalyse, learners | ms per update | driver CPU, ms per update "
        "| CPU of all processes, ms per update | `train()` outside the pipeline, ms per call |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {', '.join(row['layout'])} | {row['ms_per_update']:.1f} "
            f"| {row['driver_cpu_ms']:.1f} | {sum(row['cpu_ms'].values()):.1f} "
            f"| {row['ms_outside_pipeline_per_call']:.0f} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()

"""Pong with the paper's network and batch: wall time and peak memory, by stage.

    python -m benchmarks.pong_paper

200 env steps (100 of them random) and 20 updates of 256 samples: enough for the share of each
stage, far too few to learn. Writes benchmarks/results/pong_paper/result.json and table.md.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from cli.quiet_ray import local_ray
from rllib_ez.runs.allocator import keep_freed_memory
from rllib_ez.runs.plan import make_plan

FOLDER = Path(__file__).parent / "results" / "pong_paper"
ENV_STEPS, NUM_UPDATES = 200, 20
SETTINGS = ["num_random_steps=100", "replay_ratio=0.1", "rollout_fragment_length=5"]


def main() -> None:
    """Measures and writes."""
    plan, _ = make_plan(
        env=None, game="pong", preset=["atari100k"], assignments=SETTINGS, options={"seed": 0}
    )
    keep_freed_memory()  # as `ez train` does
    with local_ray(num_cpus=2):
        began = time.perf_counter()
        algo = plan.config().debugging(log_level="ERROR").build_algo()
        built = time.perf_counter()
        while algo.pipeline.num_env_steps < ENV_STEPS:
            algo.train()
        ended = time.perf_counter()
        pipeline = algo.pipeline
        assert (pipeline.num_env_steps, pipeline.num_updates) == (ENV_STEPS, NUM_UPDATES)
        report = {
            "machine": describe_machine(),
            "preset": "atari100k",
            "changed": SETTINGS,
            "env_steps": pipeline.num_env_steps,
            "updates": pipeline.num_updates,
            "roots_reanalysed": pipeline.shards.total("num_computed"),
            "set_up_seconds": round(built - began, 2),
            "wall_seconds": round(ended - built, 2),
            "stage_seconds": stage_seconds(pipeline.seconds()),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "replay_bytes_when_full": pipeline.memory.total_bytes,
        }
        algo.stop()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    (FOLDER / "table.md").write_text(table(report))
    print(table(report))


def stage_seconds(roles: dict[str, dict[str, float]]) -> dict[str, float]:
    """Seconds by stage; in one process stages come one after the other and do not overlap."""
    return {
        stage: round(value, 2)
        for stages in roles.values()
        for stage, value in stages.items()
        if stage not in ("busy", "waiting", "transfer")
    }


def table(report: dict[str, Any]) -> str:
    """The stages as Markdown."""
    wall = report["wall_seconds"]
    stages = sorted(report["stage_seconds"].items(), key=lambda item: -item[1])
    other = wall - sum(value for _, value in stages)
    lines = ["| stage | seconds | share |", "|---|---|---|"]
    lines += [f"| {n} | {s:.1f} | {s / wall:.1%} |" for n, s in [*stages, ("rest", other)]]
    machine = report["machine"]
    lines += [
        "",
        f"{report['env_steps']} env steps, {report['updates']} updates of 256, "
        f"{report['roots_reanalysed']} roots reanalysed: {wall:.0f} s, peak memory "
        f"{report['peak_rss_bytes'] / 2**30:.2f} GiB. {machine['processor']}, {machine['cpus']} "
        f"cores, torch {machine['torch']}, commit {machine['commit']}.",
        "",
        "    python -m benchmarks.pong_paper",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Plays the same episodes by a local agent and by a service, over HTTP, sessions and WebSockets.

    python -m benchmarks.service_scores runs/CARTPOLE=cartpole runs/PONG=pong --episodes 20

Every return and every episode's length must be the same. Writes
benchmarks/results/service_scores/result.json after every way of playing, and table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.serving_process import running

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "results" / "service_scores"
TRANSPORTS = ("http", "session", "websocket")


def main() -> None:
    """Plays, compares, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("agents", nargs="+", help="CHECKPOINT=NAME")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": describe_machine(), "agents": {}}
    with running("cli.main", "serve", *args.agents, path="/readyz") as (_, url):
        for text in args.agents:
            path, _, name = text.rpartition("=")
            ways: dict[str, Any] = {"local": evaluated(path, episodes=args.episodes)}
            result["agents"][name] = ways
            for transport in TRANSPORTS:
                ways[transport] = evaluated(
                    *("--url", url, "--model", name, "--transport", transport),
                    episodes=args.episodes,
                )
                (args.out / "result.json").write_text(json.dumps(result, indent=1))
    (args.out / "table.md").write_text(table(result))
    print(table(result))


def environ() -> dict[str, str]:
    """This process's, with the checkout first."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def evaluated(*arguments: str, episodes: int) -> dict[str, Any]:
    """`ez evaluate --json`, with the seconds it took."""
    command = [sys.executable, "-m", "cli.main", "evaluate", *arguments]
    command += ["--episodes", str(episodes), "--json"]
    begun = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environ(), check=True, stdout=subprocess.PIPE, text=True
    )
    report = json.loads(done.stdout.splitlines()[-1])
    return {**report, "seconds": time.perf_counter() - begun}


def table(result: dict[str, Any]) -> str:
    """A row for each way of playing."""
    lines = [
        "| agent | played by | episodes | mean return | steps | returns and lengths as played "
        "locally | s, with start-up |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, ways in result["agents"].items():
        local = ways["local"]
        for way, report in ways.items():
            same = all(report[key] == local[key] for key in ("returns", "lengths"))
            lines.append(
                f"| {name}, {report['trained_env_steps']:,} steps | {way} | {report['episodes']} | "
                f"{report['return_mean']:.2f} | {sum(report['lengths'])} | "
                f"{'all the same' if same else '**NOT the same**'} | {report['seconds']:.1f} |"
            )
    machine = result["machine"]
    lines += [
        "",
        f"{machine['processor']}, {machine['cpus']} cores shared by service and player, commit "
        f"{machine['commit']}.",
        "",
        "    python -m benchmarks.service_scores runs/CARTPOLE=cartpole runs/PONG=pong",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

"""The service under load, beside its search alone and beside its peers, in one run.

    python -m benchmarks.serving --agents cartpole=runs/cartpole pong=runs/pong
    python -m benchmarks.serving --agents pong=runs/pong --no-paper --variants ours --threads 1 2

For each agent and variant a service is started, and 1, 8 and 64 clients ask it in turn, each with
its next request upon a reply. After each step, while the service has nothing to do, a process of
its own searches batches of the sizes that the step saw, back to back, with as many threads: what
the search alone can do. `pong_paper` is an untrained agent of the paper's size (4 colour frames
of 96x96, 50 simulations): weights do not change how long a search takes.

Variants: ours (`ez serve`), nogather (the same with gather_fraction=0), batch (`@serve.batch`
instead of our batcher, all else the same), rllib (RLlib's own Serve example on Serve's default
settings: no search, one observation at a time), rllib256 (the same, max_ongoing_requests=256).

Writes benchmarks/results/serving/result.json, table.md and serving.png, anew after each variant.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.search_runner import Process
from benchmarks.serving_agents import described, shape_of, write_paper_agent
from benchmarks.serving_peer import ROUTE, rl_module_of
from benchmarks.serving_process import STRANGERS, CpuWatch, idle_cores, running
from benchmarks.serving_report import draw, table
from rllib_ez.core.agent_card import read_agent
from serve.load_connection import Address
from serve.load_report import LoadStep
from serve.loadtest import LoadSettings, LoadTest, random_stacks, run_on_loop

FOLDER = Path(__file__).parent / "results" / "serving"
RLLIB = ("rllib", "rllib256")
VARIANTS = ("ours", "nogather", "batch", *RLLIB)
PAPER = "pong_paper"  # an agent's name
WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One service to be started."""

    agent: str
    checkpoint: str
    variant: str
    threads: int
    round: int


def main() -> None:
    """Measures every case and writes."""
    args = parsed_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.serving", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": args.seconds,
        "simulations": args.simulations,
        "seed": args.seed,
        "agents": {},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        agents = dict(given.split("=", 1) for given in args.agents)
        if args.paper:
            agents[PAPER] = str(write_paper_agent(Path(scratch) / PAPER))
        report["agents"] = {name: described(path) for name, path in agents.items()}
        for case in cases(agents, args):
            print(f"{case.agent}, {case.variant}, {case.threads} threads", flush=True)
            report["rows"] += measured(case, args, Path(scratch))
            (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
            (args.out / "table.md").write_text(table(report))
            draw(report, args.out / "serving.png")
    print(table(report))


def parsed_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", nargs="*", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of a search")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--simulations", type=int, default=None, help="as evaluated if not given")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each step")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of observations and batch sizes")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    wrong = [given for given in args.agents if "=" not in given]
    if wrong:
        parser.error(f"--agents must be NAME=CHECKPOINT, got {wrong[0]!r}")
    return args


def cases(agents: dict[str, str], args: argparse.Namespace) -> list[Case]:
    """In order: every other round backwards, so that drifts of the machine cancel out."""
    found = [
        Case(agent=agent, checkpoint=path, variant=variant, threads=threads, round=0)
        for agent, path in agents.items()
        for variant in args.variants
        for threads in (args.threads if variant == "ours" else args.threads[:1])
        if variant not in RLLIB or rl_module_exists(path)
    ]
    rounds = []
    for turn in range(args.rounds):
        ordered = found if turn % 2 == 0 else found[::-1]
        rounds += [Case(**{**asdict(case), "round": turn}) for case in ordered]
    return rounds


def rl_module_exists(checkpoint: str) -> bool:
    """Whether RLlib's example has something to restore."""
    return rl_module_of(Path(checkpoint)).is_dir()


def measured(case: Case, args: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """A row for each number of clients."""
    rows = []
    logs = str(scratch / "logs")
    with Process(Path(__file__).with_name("serving_alone.py"), threads=case.threads) as alone:
        largest = max(64, *args.clients)
        agent = {"checkpoint": case.checkpoint, "threads": case.threads}
        alone.ask(cmd="load", agent={**agent, "largest": largest, "seed": args.seed})
        with service_of(case, logs) as (pid, url):
            idle = idle_cores(pid)
            for clients in args.clients:
                step, cores = loaded(case, args, clients, pid=pid, url=url)
                row = {**asdict(case), **asdict(step), "clients": clients}
                row |= {"cores": cores, "idle_cores": idle}
                if case.variant not in RLLIB:
                    row["alone"] = alone.ask(
                        cmd="run",
                        histogram=step.observations_by_batch,
                        seconds=args.seconds / 2,
                        simulations=args.simulations,
                        seed=args.seed,
                    )
                rows.append({**row, **costs(row)})
                print(json.dumps(brief(rows[-1])), flush=True)
    return rows


def service_of(case: Case, logs: str) -> Any:
    """The case's service, to be entered."""
    threads = ("--threads", str(case.threads))
    if case.variant in ("ours", "nogather"):
        setting = () if case.variant == "ours" else ("--set", "gather_fraction=0")
        agent = f"{case.checkpoint}={case.agent}"
        given = ("serve", agent, *threads, "--log-dir", logs, *setting)
        return running("cli.main", *given, path="/readyz")
    common = ("--checkpoint", case.checkpoint, *threads)
    if case.variant == "batch":
        given = ("batch", *common, "--name", case.agent, "--log-folder", logs)
        return running("benchmarks.serving_peer", *given, path="/readyz")
    blank = {"observation": np.zeros(shape_of(read_agent(case.checkpoint)[0])).tolist()}
    return running("benchmarks.serving_peer", case.variant, *common, path=ROUTE, body=blank)


def loaded(
    case: Case, args: argparse.Namespace, clients: int, *, pid: int, url: str
) -> tuple[LoadStep, dict[str, float]]:
    """A step of the load test, and the cores that were busy in the meantime, by role."""
    settings = LoadSettings(
        url=url,
        model=case.agent,
        seconds=args.seconds,
        warm_up_seconds=WARM_UP_SECONDS,
        simulations=args.simulations,
        seed=args.seed,
    )
    watch = CpuWatch(pid, WARM_UP_SECONDS, WARM_UP_SECONDS + args.seconds)

    async def run() -> LoadStep:
        if case.variant in RLLIB:
            test = LoadTest(settings, read=read_action)
            test.requests = rllib_requests(case.checkpoint, test.address, seed=args.seed)
        else:
            test = LoadTest(settings)
            await test.prepare()
        return await test.step(clients, watch)

    return run_on_loop(run()), watch.cores()


def rllib_requests(checkpoint: str, address: Address, *, seed: int) -> list[bytes]:
    """The requests of RLlib's example: nested lists in JSON."""
    card, _ = read_agent(checkpoint)
    shape, rng, requests = shape_of(card), np.random.default_rng(seed), []
    for _ in range(32):
        stack = random_stacks(rng, shape, card.frame_dtype)
        body = json.dumps({"observation": stack.tolist()}).encode()
        length = f"Content-Length: {len(body)}\r\n"
        requests.append(address.head("POST", ROUTE, None, length) + body)
    return requests


def read_action(body: bytes) -> tuple[float, float, int]:
    """A reply of RLlib's example, which tells no times."""
    int(json.loads(body)["action"])
    return 0.0, 0.0, 1


def costs(row: dict[str, Any]) -> dict[str, Any]:
    """CPU of a request by role in ms, that of HTTP, and the ratio to the search alone.

    What a service spends when nobody asks is not a request's.
    """
    rate, cpu, idle = row["requests_per_second"], row["server_cpu_ms"], row["idle_cores"]
    each = {
        role: 1000 * (cores - (0.0 if role in STRANGERS else idle.get(role, 0.0))) / rate
        for role, cores in row["cores"].items()
        if rate
    }
    service = [ms for role, ms in each.items() if role not in STRANGERS]
    # Only the device's own thread tells what it spends: with more, HTTP cannot be told from them.
    tells = cpu is not None and row["threads"] == 1 and rate
    return {
        "cpu_ms": each,
        "service_cpu_ms": sum(service) if rate else None,
        "http_cpu_ms": sum(service) - cpu["search"] if tells else None,
        "ratio": rate / row["alone"]["observations_per_second"] if "alone" in row else None,
    }


def brief(row: dict[str, Any]) -> dict[str, Any]:
    """What is worth watching."""
    latency = row["latency_ms"] or {}
    return {
        "clients": row["clients"],
        "req/s": round(row["requests_per_second"], 1),
        "ratio": row["ratio"] and round(row["ratio"], 3),
        "p50": latency and round(latency["p50"], 1),
        "p99": latency and round(latency["p99"], 1),
        "HTTP CPU ms": row["http_cpu_ms"] and round(row["http_cpu_ms"], 2),
        "others": round(row["cores"]["others"], 2),
        "errors": row["errors"],
    }


if __name__ == "__main__":
    main()

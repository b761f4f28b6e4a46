"""What clients notice when a service is reloaded, killed, overrun, and left alone under load.

    python -m benchmarks.service_faults runs/RUN            # all phases, the soak for 10 minutes
    python -m benchmarks.service_faults runs/RUN --phases reload kill --rounds 5

reload    8 clients without retries, while the model is loaded anew and rolled back in turn
kill      8 such clients, and 4 `ActionClient`s that do retry, while the replica is killed (-9)
overload  256 clients at 200 simulations against a queue of 64, then 8 clients again
soak      64 clients for --minutes; memory of every process of the service

Writes benchmarks/results/service_faults/: result.json after every phase, table.md, memory.png.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import describe_machine
from benchmarks.service_crowd import Crowd
from benchmarks.service_faults_report import write_report
from benchmarks.serving_process import running
from serve.client import ActionClient
from serve.loadtest import LoadSettings

FOLDER = Path(__file__).parent / "results" / "service_faults"
ADMIN, CLIENT = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
QUEUE, BATCH = 64, 32
PHASES = ("reload", "kill", "overload", "soak")


def main() -> None:
    """Runs the phases asked for, in one service."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--phases", nargs="+", default=list(PHASES), choices=PHASES)
    parser.add_argument("--rounds", type=int, default=5, help="reloads, and kills")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "result.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with service(args.checkpoint.absolute()) as target:
        phases = {
            "reload": lambda: reload_phase(target, args.rounds),
            "kill": lambda: kill_phase(target, args.rounds),
            "overload": lambda: overload_phase(target),
            "soak": lambda: soak_phase(target, args.minutes),
        }
        for name in args.phases:
            machine = describe_machine()
            result[name] = {**phases[name](), "machine": machine, "model": target.info["env"]}
            path.write_text(json.dumps(result, indent=1))
            print(name, {k: v for k, v in result[name].items() if k not in ("machine", "samples")})
    write_report(result, args.out)


@dataclass
class Target:
    """The service."""

    url: str
    pid: int
    checkpoint: Path
    info: dict[str, Any]  # as the service tells it

    def admin(self, path: str, body: dict[str, Any]) -> None:
        """Calls an admin's route of the model."""
        request = urllib.request.Request(
            f"{self.url}/v1/models/agent/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=120).close()

    def crowd(self, clients: int, *, simulations: int | None = None) -> Crowd:
        """Clients that ask it, to be entered."""
        settings = LoadSettings(url=self.url, token=CLIENT, simulations=simulations)
        return Crowd(settings, self.info, clients)

    def is_ready(self) -> bool:
        """What /readyz says."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def memory(self) -> dict[str, int]:
        """Bytes by process, without what is shared."""
        found: Counter[str] = Counter()
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                memory = process.memory_info()
                words = " ".join(process.cmdline())
            except psutil.Error:  # gone meanwhile
                continue
            found[role_of(words)] += memory.rss - memory.shared
        return dict(found)

    def replica(self) -> psutil.Process:
        """The process that answers."""
        for process in psutil.Process(self.pid).children(recursive=True):
            if role_of(" ".join(process.cmdline())) == "replica":
                return process
        raise LookupError("no replica")


def role_of(command: str) -> str:
    """What a process of the service does."""
    for part, role in (
        (":ActionService", "replica"),
        (":Board", "board"),
        ("HAProxyManager", "proxy"),
        ("ProxyActor", "proxy"),
        ("haproxy", "proxy"),
    ):
        if part in command:
            return role
    return "ray"


@contextmanager
def service(checkpoint: Path) -> Iterator[Target]:
    """`ez serve` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text(f"client {CLIENT}\nadmin {ADMIN}\n")
        command = [
            *("serve", f"{checkpoint}=agent", "--token-file", str(tokens), "--log-dir", folder),
            *("--max-queue", str(QUEUE), "--max-batch", str(BATCH)),
        ]
        with running("cli.main", *command, path="/readyz") as (pid, url):
            with ActionClient(url, token=CLIENT) as client:
                info = client.model()
            yield Target(url, pid, checkpoint, info)


def wait_for(is_so: Any, *, seconds: float) -> float:
    """Seconds until it was."""
    begun = time.perf_counter()
    while not is_so():
        if time.perf_counter() - begun > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return time.perf_counter() - begun


def reload_phase(target: Target, rounds: int) -> dict[str, Any]:
    """Loads and rolls back under load; the same length of time without either comes first."""
    with target.crowd(8) as crowd:
        time.sleep(2)
        begun = time.perf_counter()
        time.sleep(2.0 * rounds)
        middle = time.perf_counter()
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            target.admin("load", {"checkpoint": str(target.checkpoint)})
            seconds.append(time.perf_counter() - start)
            time.sleep(1.0)
            target.admin("rollback", {})
            time.sleep(1.0)
        end = time.perf_counter()
    return {
        "quiet": crowd.summary(begun, middle),
        "reloading": crowd.summary(middle, end),
        "loads": rounds,
        "rollbacks": rounds,
        "seconds_a_load": seconds,
    }


def kill_phase(target: Target, rounds: int) -> dict[str, Any]:
    """Kills the replica; ready again is counted from the kill."""
    kills = []
    errors: list[str] = []
    stop = threading.Event()
    answered = Counter()
    threads = [
        threading.Thread(target=patient, args=(target, stop, errors, answered)) for _ in range(4)
    ]
    with target.crowd(8) as crowd:
        for thread in threads:
            thread.start()
        for _ in range(rounds):
            time.sleep(3)
            victim, at = target.replica(), time.perf_counter()
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            ready = wait_for(target.is_ready, seconds=120)
            time.sleep(1)
            first = min(t for t, _ in crowd.done if t > at + 0.05)
            kills.append(
                {
                    "ready_again_s": ready,
                    "first_answer_s": first - at,
                    **crowd.summary(at, time.perf_counter()),
                }
            )
        time.sleep(2)
        stop.set()
        for thread in threads:
            thread.join()
    return {
        "kills": kills,
        "clients_that_retry": {"answered": answered["answered"], "errors": errors[:20]},
    }


def patient(target: Target, stop: threading.Event, errors: list[str], answered: Counter) -> None:
    """A client that retries: whatever it is told in the end is right or an error."""
    shape = (1, *target.info["observation"]["shape"])
    blank = np.zeros(shape, target.info["observation"]["dtype"])
    with ActionClient(target.url, token=CLIENT, retry_seconds=60) as client:
        while not stop.is_set():
            try:
                client.search(blank)
                answered["answered"] += 1
            except Exception as error:
                errors.append(repr(error))


def overload_phase(target: Target) -> dict[str, Any]:
    """Far more than can be answered; then the usual again."""
    before = target.memory()
    with target.crowd(8) as crowd:
        time.sleep(5)
    usual = crowd.summary()
    samples = []
    with target.crowd(256, simulations=200) as crowd:
        for _ in range(15):
            time.sleep(2)
            samples.append(target.memory())
    overrun = crowd.summary()
    begun = time.perf_counter()
    with target.crowd(8) as crowd:
        wait_for(lambda: crowd.done, seconds=60)
        recovered = time.perf_counter() - begun
        time.sleep(5)
    return {
        "usual": usual,
        "overrun": overrun,
        "after": crowd.summary(),
        "seconds_to_first_answer_after": recovered,
        "memory_before": before,
        "samples": samples,
        "memory_after": target.memory(),
    }


def soak_phase(target: Target, minutes: float) -> dict[str, Any]:
    """Full load; memory every ten seconds."""
    samples = []
    with target.crowd(64) as crowd:
        end = time.perf_counter() + 60 * minutes
        while time.perf_counter() < end:
            time.sleep(10)
            samples.append(
                {"seconds": 60 * minutes - (end - time.perf_counter()), **target.memory()}
            )
    return {"minutes": minutes, "load": crowd.summary(), "samples": samples}


if __name__ == "__main__":
    main()

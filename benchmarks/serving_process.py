"""A service in a process of its own, with all the processes it starts and their CPU. Linux only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import TICKS, _command, _ticks, family, machine_cpu_seconds
from serve.environment import free_ports

ROOT = Path(__file__).parents[1]
READY_SECONDS = 120.0
STRANGERS = ("clients", "others")  # whose cores are not the service's


def role_of(command: str) -> str:
    """What a process of a service does."""
    if command.startswith("ray::ServeReplica") and "Board" not in command:
        return "replica"
    if command.startswith("ray::ProxyActor"):
        return "proxy"
    if command.split(" ", 1)[0].endswith("/haproxy"):
        return "haproxy"
    return "rest"


@dataclass(slots=True)
class CpuWatch:
    """Reads the clocks at the beginning and near the end of what a load step measures.

    Called with the seconds that have passed of the step, as `LoadTest.step` does.
    """

    service: int  # pid
    begin: float  # seconds into the step, when its warm-up is over
    end: float  # seconds into the step
    _roles: dict[int, str] = field(default_factory=dict)
    _first: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def __call__(self, passed: float) -> None:
        """Reads them if it is time."""
        if passed < self.begin:
            return
        if not self._first:
            self._roles = {pid: role_of(_command(pid)) for pid in family(self.service)}
            self._first = self._read()
        elif passed >= self.end - 0.6:
            self._last = self._read()

    def _read(self) -> dict[str, float]:
        clocks: defaultdict[str, float] = defaultdict(float)
        for pid, role in self._roles.items():
            clocks[role] += _ticks(pid) / TICKS
        own = sum(os.times()[:2])
        return {**clocks, "clients": own, "machine": machine_cpu_seconds(), "wall": time.time()}

    def cores(self) -> dict[str, float]:
        """Cores used, by role; "clients" is this process, "others" what is neither's."""
        spent = {name: self._last[name] - first for name, first in self._first.items()}
        wall, machine = spent.pop("wall"), spent.pop("machine")
        spent["others"] = machine - sum(spent.values())
        return {name: seconds / wall for name, seconds in spent.items()}


def idle_cores(service: int, *, settle: float = 3.0, seconds: float = 3.0) -> dict[str, float]:
    """Cores that a service uses while nobody asks it, by role."""
    time.sleep(settle)
    watch = CpuWatch(service, 0.0, seconds)
    watch(0.0)
    time.sleep(seconds)
    watch(seconds)
    return watch.cores()


@contextmanager
def running(module: str, *args: str, path: str, body: Any = None) -> Iterator[tuple[int, str]]:
    """A service that `python -m MODULE ... --port PORT` starts; yields its pid and URL.

    Args:
        module: the program.
        args: all but the port.
        path: answers 200 as soon as the service is ready.
        body: posted to it as JSON, if there is one.
    """
    (port,) = free_ports(1)
    command = [sys.executable, "-m", module, *args, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # inherited
    with ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        stack.callback(stop, process)
        url = f"http://127.0.0.1:{port}"
        if not answers(process, url + path, body):
            stop(process)
            said.seek(0)
            text = said.read()[-3000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} was never ready:\n{text}")
        yield process.pid, url


def answers(process: subprocess.Popen[bytes], url: str, body: Any) -> bool:
    """Waits until it does; False if the service ends, or takes too long."""
    data = None if body is None else json.dumps(body).encode()
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def stop(process: subprocess.Popen[bytes], *, seconds: Sequence[float] = (60.0, 10.0)) -> None:
    """Asks it to end; then makes it."""
    for number, wait in zip((signal.SIGTERM, signal.SIGKILL), seconds, strict=True):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                continue

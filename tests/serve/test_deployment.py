"""`ez serve` as it runs: Ray Serve, HAProxy, replicas that die. One service for the whole file."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from rllib_ez.agent import Agent
from serve.client import ActionClient
from serve.environment import free_ports

ROOT = Path(__file__).parents[2]
CLIENT, ADMIN = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True)
class Served:
    """The service under test."""

    url: str
    process: subprocess.Popen[str]
    agent: Path
    run: Path
    logs: Path

    def client(self, **options: Any) -> ActionClient:
        return ActionClient(self.url, token=CLIENT, **options)

    def admin(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/v1/models/{path}",
            data=json.dumps(body or {}).encode(),
            headers={"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def processes(self) -> list[psutil.Process]:
        """All of it: Ray's own lead sessions of their own, but stay children."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def replica(self, name: str = "ActionService") -> psutil.Process:
        wanted = f"ray::ServeReplica:ez:{name}"
        found = [p for p in self.processes() if p.is_running() and wanted in " ".join(p.cmdline())]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, vector_agent: Path, pixel_agent: Path
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(vector_agent, folder / "run" / "checkpoint_000000100")
    agents = (f"{vector_agent}=vector", f"{pixel_agent}=pixel")
    followed = ("--follow", f"{folder / 'run'}=followed")
    with serving(folder, *agents, *followed, agent=vector_agent) as found:
        yield found


@contextmanager
def serving(folder: Path, *args: str, agent: Path) -> Iterator[Served]:
    """`ez serve` in a process of its own, ready."""
    (folder / "tokens").write_text(f"client {CLIENT}\nadmin {ADMIN}\n")
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "cli.main", "serve", *args, "--port", str(port)),
        *("--token-file", str(folder / "tokens"), "--log-dir", str(folder / "logs")),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        found = Served(f"http://127.0.0.1:{port}", process, agent, folder / "run", folder / "logs")
        try:
            wait_until(lambda: is_ready(found.url), seconds=120)
            yield found
        finally:
            process.kill()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def wait_until(is_so: Any, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


class Load:
    """Clients that ask without a pause, and note every answer."""

    def __init__(self, served: Served, *, clients: int = 4, **options: Any) -> None:
        self.versions: list[int] = []
        self.errors: list[str] = []
        self._served, self._options = served, options
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        observations = np.zeros((1, 1, 4), np.float32)
        with self._served.client(model="vector", **self._options) as client:
            while not self._stop.is_set():
                try:
                    self.versions.append(client.search(observations).model_version)
                except Exception as error:  # whatever it is, a client was let down
                    self.errors.append(repr(error))


def test_answers_are_the_local_agents(served: Served):
    agent = Agent.load(served.agent)
    observations = np.random.default_rng(0).normal(size=(5, *agent.observation_shape))
    seeds = np.arange(5, dtype=np.uint64)
    local = agent.search(observations.astype(np.float32), seeds=seeds)
    with served.client(model="vector") as client:
        remote = client.search(
            observations.astype(np.float32), seeds=seeds, include=("policy", "value")
        )
    np.testing.assert_array_equal(remote.action, local.action)
    np.testing.assert_array_equal(remote.root_value, local.root_value)


def test_a_newer_checkpoint_is_taken_in_under_load_without_a_failed_request(served: Served):
    with Load(served, retry_seconds=0) as load:
        before = served.admin("vector/load", {"checkpoint": str(served.agent)})["version"]
        time.sleep(0.5)
        served.admin("vector/rollback")
        time.sleep(0.5)
    assert load.errors == []
    assert {before - 1, before} <= set(load.versions)
    assert load.versions[-1] == before - 1


def test_clients_that_retry_lose_nothing_when_the_replica_is_killed(served: Served):
    version = served.admin("vector/load", {"checkpoint": str(served.agent)})["version"]
    with Load(served, retry_seconds=60) as load:
        wait_until(lambda: len(load.versions) > 20)
        killed = served.replica()
        killed.send_signal(signal.SIGKILL)
        wait_until(lambda: is_ready(served.url), seconds=60)
        asked = len(load.versions)
        wait_until(lambda: len(load.versions) > asked + 20)
    assert load.errors == []
    assert served.replica().pid != killed.pid
    assert set(load.versions[-20:]) == {version}  # the board knew what an admin had loaded


def test_the_board_may_die_too(served: Served):
    version = served.admin("vector/load", {"checkpoint": str(served.agent)})["version"]
    board = served.replica("Board")
    board.send_signal(signal.SIGKILL)
    board.wait(20)
    wait_until(lambda: any("Board" in " ".join(p.cmdline()) for p in alive(served)), seconds=60)
    wait_until(lambda: can_load(served, expected=version + 1), seconds=60)


def alive(served: Served) -> list[psutil.Process]:
    return [p for p in served.processes() if p.is_running() and p.status() != "zombie"]


def can_load(served: Served, *, expected: int) -> bool:
    try:
        loaded = served.admin("vector/load", {"checkpoint": str(served.agent)})
    except OSError:
        return False
    assert loaded["version"] == expected
    return True


def test_a_run_is_followed(served: Served):
    with served.client(model="followed") as client:
        assert client.model()["version"] == 1
    draft = served.run / ".draft"
    shutil.copytree(served.agent, draft)
    draft.rename(served.run / "checkpoint_000000200")

    def is_taken() -> bool:
        with served.client(model="followed") as client:
            return client.model()["version"] == 2

    wait_until(is_taken)


def listeners(process: psutil.Process) -> list[tuple[str, int, str]]:
    """Address, port and command of what it listens with."""
    try:
        command = " ".join(process.cmdline())
        found = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return []
    return [(one.laddr.ip, one.laddr.port, command) for one in found if one.status == "LISTEN"]


def test_nothing_listens_beyond_this_machine(served: Served):
    listening = {entry for process in served.processes() for entry in listeners(process)}
    assert listening
    open_ones = [entry for entry in listening if entry[0] not in LOOPBACK]
    # Ray's port for calls between deployments, of each replica: it asks for Ray's token.
    assert all("ray::ServeReplica" in command for _, _, command in open_ones), open_ones


def test_requests_are_logged_as_json_with_their_ids(served: Served):
    with served.client(model="vector") as client:
        request_id = client.search(np.zeros((1, 1, 4), np.float32)).request_id
    lines = [
        json.loads(line)
        for path in served.logs.glob("replica-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    (line,) = [line for line in lines if line.get("request_id") == request_id]
    assert (line["code"], line["route"]) == (200, "/v1/models/{name}/act")


def test_sigterm_answers_what_waits_and_leaves_nothing_behind(served: Served):
    """The last: the service is gone after it."""
    processes = served.processes()
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(search_for_long, served) for _ in range(6)]
        wait_until(lambda: queued(served) + 64 * sum(one.done() for one in waiting) >= 5 * 64)
        served.process.send_signal(signal.SIGTERM)
        assert [one.result() for one in waiting] == [64] * 6
    assert served.process.wait(60) == 0
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in processes))


def queued(served: Served) -> float:
    """Observations that wait."""
    request = urllib.request.Request(
        f"{served.url}/metrics", headers={"Authorization": f"Bearer {CLIENT}"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("ez_queued")).split()[1])


def search_for_long(served: Served) -> int:
    """How many actions came back, of the one attempt that is made."""
    frames = np.zeros((64, 3, 32, 32, 3), np.uint8)
    with served.client(model="pixel", retry_seconds=0) as client:
        return len(client.search(frames, num_simulations=np.full(64, 400)).action)

"""The application as tests ask it: in this process, or behind a true server in another.

python tests/serve/apps.py PORT CHECKPOINT [NAME=VALUE ...]
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from serve.app import build_app
from serve.service import Service
from serve.settings import ServiceSettings
from tests.serve.agents import HereBoard

CLIENT, ADMIN = "client-token-of-the-tests", "admin-token-of-the-tests"
JSON, MSGPACK, RAW = "application/json", "application/msgpack", "application/octet-stream"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """A service and one who asks it."""

    client: TestClient
    service: Service

    def act(self, body: Any, *, model: str = "vector", **options: Any) -> httpx.Response:
        """POSTs JSON, or bytes with their content type among `options`' headers."""
        kind = "content" if isinstance(body, bytes) else "json"
        path = f"/v1/models/{model}/act"
        return self.client.post(path, **{kind: body}, **options)  # type: ignore[arg-type]

    def raw(self, observations: np.ndarray, *, model: str = "vector", **query: Any) -> Any:
        """Sends the numbers as they are; the reply's JSON."""
        content, headers = observations.tobytes(), {"content-type": RAW}
        got = self.act(content, model=model, headers=headers, params=query)
        assert got.status_code == 200, got.text
        return got.json()


class Held:
    """Searches of "vector" wait until they are let go."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self._batcher = served.service.batcher
        lane = served.service.roster.seats["vector"].lane
        self.go, self.has_begun = threading.Event(), threading.Event()
        search = lane.search

        def wait(queries: list[Any]) -> list[Any]:
            self.has_begun.set()
            assert self.go.wait(20)
            return search(queries)

        monkeypatch.setattr(lane, "search", wait)

    def wait_until_queued(self, count: int) -> None:
        """Returns when so many observations wait behind the one that is searched."""
        end = time.monotonic() + 20
        while self._batcher.queued < count:
            assert time.monotonic() < end, self._batcher.queued
            time.sleep(0.001)


@contextmanager
def serving(models: dict[str, Path], **settings: Any) -> Iterator[Served]:
    """A started service in this process, and a client of it that has no token yet."""
    wanted = {"access_log": False, **settings}
    service = Service(ServiceSettings.of(wanted), HereBoard())
    with TestClient(build_app(service), raise_server_exceptions=False) as client:
        assert client.portal is not None
        paths = {name: {"checkpoint": str(path)} for name, path in models.items()}
        client.portal.call(service.start, paths)
        yield Served(client, service)
        client.portal.call(service.stop)


def token_file(folder: Path) -> str:
    """A file with one client's and one admin's token."""
    path = folder / "tokens"
    path.write_text(f"client {CLIENT}\nadmin {ADMIN}\n")
    return str(path)


def bearer(token: str) -> dict[str, str]:
    """The header that sends a token."""
    return {"Authorization": f"Bearer {token}"}


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error that was told, if it has the schema and no word of ours."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == JSON
    assert "Traceback" not in response.text
    assert "pydantic" not in response.text
    (only,) = response.json().values()
    assert only.keys() == {"code", "message", "details", "request_id"}
    assert only["request_id"] == response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))
    found: dict[str, Any] = only
    return found


@contextmanager
def server(checkpoint: Path, **settings: Any) -> Iterator[tuple[int, int]]:
    """A uvicorn with "vector" in a process of its own: its port and its process id."""
    port = free_port()
    words = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, __file__, str(port), str(checkpoint), *words]
    environ = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    try:
        wait_until_ready(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when it answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"the server must answer, got exit status {process.poll()}")


def resident_bytes(pid: int) -> int:
    """Of a process, now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def listening(models: dict[str, Path], **settings: Any) -> Iterator[tuple[int, Service]]:
    """A uvicorn in a thread of this process: its port, and the service."""
    port = free_port()
    service = Service(ServiceSettings.of({"access_log": False, **settings}), HereBoard())
    config = uvicorn.Config(build_app(service), port=port, log_level="warning", lifespan="off")
    one = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(_serve(one, service, models),))
    thread.start()
    while not one.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield port, service
    finally:
        one.should_exit = True
        thread.join(20)


async def _serve(one: uvicorn.Server, service: Service, models: dict[str, Path]) -> None:
    await service.start({name: {"checkpoint": str(path)} for name, path in models.items()})
    await one.serve()
    await service.stop()


async def _main(port: int, checkpoint: Path, settings: dict[str, Any]) -> None:
    service = Service(ServiceSettings.of({"access_log": False, **settings}), HereBoard())
    config = uvicorn.Config(build_app(service), port=port, log_level="warning", lifespan="off")
    await _serve(uvicorn.Server(config), service, {"vector": checkpoint})


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[3:])
    asyncio.run(
        _main(int(sys.argv[1]), Path(sys.argv[2]), {k: json.loads(v) for k, v in given.items()})
    )

"""The application: that it can be put together, and what it withstands behind a true server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import rllib_ez
from serve.app import build_app, running
from serve.service import Service
from serve.settings import ServiceSettings
from tests.serve.agents import HereBoard
from tests.serve.apps import (
    CLIENT,
    RAW,
    Served,
    bearer,
    error_of,
    resident_bytes,
    server,
    serving,
    token_file,
)

MIB = 2**20


def service_of(**settings: object) -> Service:
    return Service(ServiceSettings.of({"access_log": False, **settings}), HereBoard())


def test_a_running_service_answers_and_is_stopped(vector_agent: Path):
    service = service_of()

    async def ask() -> tuple[int, str]:
        models = {"vector": {"checkpoint": str(vector_agent)}}
        async with running(service, models) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                got = await client.post("/v1/act", json={"observation": [0, 0, 0, 0]})
                document = (await client.get("/openapi.json")).json()
                return got.status_code, document["info"]["version"]

    assert asyncio.run(ask()) == (200, rllib_ez.__version__)
    assert service.is_draining


@pytest.mark.parametrize("path", ["/v1/models/", "/v1/models/vector/", "/v1/act/", "/healthz/"])
def test_no_path_is_redirected(vector_agent: Path, path: str):
    with serving({"vector": vector_agent}) as served:
        got = served.client.get(path, follow_redirects=False)
        assert error_of(got, 404)["code"] == "not_found"


def test_a_path_with_two_routes_tells_both_methods(vector_agent: Path):
    with serving({"vector": vector_agent}) as served:
        got = served.client.put("/v1/models/vector")
        assert error_of(got, 405)["code"] == "method_not_allowed"
        assert got.headers["allow"] == "DELETE, GET"


def test_two_applications_share_nothing(vector_agent: Path, tmp_path: Path):
    with (
        serving({"vector": vector_agent}) as free,
        serving({"other": vector_agent}, token_file=token_file(tmp_path)) as guarded,
    ):
        assert names(free, {}) == ["vector"]
        assert names(guarded, bearer(CLIENT)) == ["other"]
        assert guarded.client.get("/v1/models").status_code == 401


def names(served: Served, headers: dict[str, str]) -> list[str]:
    models = served.client.get("/v1/models", headers=headers).json()["models"]
    return [model["name"] for model in models]


def test_what_is_neither_http_nor_a_socket_is_passed_on():
    sent: list[dict[str, str]] = []
    coming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(coming)

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    app = build_app(service_of())
    asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))  # type: ignore[arg-type]
    assert [one["type"] for one in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


@pytest.fixture(scope="module")
def port_and_process(vector_agent: Path) -> Iterator[tuple[int, int]]:
    with server(vector_agent) as found:
        yield found


def raw_request(port: int, head: str) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    one.sendall(f"POST {head}\r\nHost: x\r\nContent-Type: {RAW}\r\n".encode())
    return one


def pour(one: socket.socket, count: int, *, chunked: bool) -> int:
    """Sends MiBs until nobody takes them; how many it were."""
    block = bytes(MIB)
    framed = b"%x\r\n%s\r\n" % (MIB, block) if chunked else block
    for sent in range(count):
        try:
            one.sendall(framed)
        except OSError:
            return sent
    return count


@pytest.mark.parametrize("path", ["/v1/act", "/v2/models/vector/infer"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_not_read(port_and_process: tuple[int, int], path: str, chunked: bool):
    port, pid = port_and_process
    before, most, length = resident_bytes(pid), 0, 512
    with raw_request(port, f"{path} HTTP/1.1") as one:
        told = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length * MIB}"
        one.sendall(f"{told}\r\n\r\n".encode())
        sent = pour(one, length, chunked=chunked)
        most = resident_bytes(pid) - before
        assert b" 413 " in one.recv(1000)
    assert sent < 64  # 16 MiB are read where no length is told; the rest lies in buffers
    assert most < 48 * MIB
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_a_slow_body_holds_up_nobody(port_and_process: tuple[int, int]):
    port, _ = port_and_process
    with raw_request(port, "/v1/act HTTP/1.1") as slow:
        slow.sendall(b"Content-Length: 16\r\n\r\n" + bytes(8))
        with httpx.Client(headers={"content-type": RAW}, timeout=5) as client:
            for _ in range(20):
                got = client.post(f"http://127.0.0.1:{port}/v1/act", content=bytes(16))
                assert got.status_code == 200
        slow.sendall(bytes(8))
        assert b" 200 " in slow.recv(1000)


def test_a_client_that_leaves_is_no_mistake_of_ours(port_and_process: tuple[int, int]):
    port, _ = port_and_process
    with raw_request(port, "/v1/act HTTP/1.1") as one:
        one.sendall(b"Content-Length: 16\r\n\r\n" + bytes(8))
    address, end = f"http://127.0.0.1:{port}/metrics", time.monotonic() + 10
    wanted = 'ez_requests_total{code="400",model="vector",route="/v1/act"} 1.0'
    while wanted not in (text := httpx.get(address).text) and time.monotonic() < end:
        time.sleep(0.02)
    assert wanted in text
    assert 'code="500"' not in text


def test_requests_beside_each_other_are_all_answered(vector_agent: Path):
    good = {"observation": [0, 0, 0, 0]}
    with serving({"vector": vector_agent}) as served, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(served.act, good) for _ in range(80)]
        assert {one.result().status_code for one in asked} == {200}

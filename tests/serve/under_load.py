"""Services on free ports, to be put under load: a true one, and one that misbehaves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import uvicorn

from rllib_ez.core.config import SearchConfig
from serve.app import build_app
from serve.service import Service
from serve.settings import ServiceSettings
from tests.serve.agents import VECTOR, HereBoard, written

MODEL = {
    "name": "toy",
    "env": "Toy-v0",
    "observation": {"shape": [1, 4], "dtype": "float32"},
    "simulations": {"default": 2, "max": 8},
    "max_observations": 4,
}
GOOD = {"action": 0, "timing_ms": {"queue": 0.5, "search": 0.25}, "batch_size": 2}


UNTRAINED = replace(VECTOR, search=SearchConfig(num_simulations=2))


@contextmanager
def running_service(folder: Path, **settings: Any) -> Iterator[str]:
    """The service of an untrained agent "cartpole", under uvicorn; its URL."""
    checkpoint = written(folder / "checkpoint_000000100", UNTRAINED)

    async def serve_until(stop: asyncio.Event, tell: Callable[[str], None]) -> None:
        service = Service(ServiceSettings.of({"access_log": False, **settings}), HereBoard())
        await service.start({"cartpole": {"checkpoint": str(checkpoint)}})
        server = uvicorn.Server(uvicorn.Config(build_app(service), port=0, log_level="error"))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        tell(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        await stop.wait()
        server.should_exit = True
        await task
        await service.stop()

    with in_thread(serve_until) as url:
        yield url


@contextmanager
def scripted_service(*answers: bytes | None) -> Iterator[str]:
    """Answers each request for an action with the next of `answers`, again and again; its URL.

    None drops the connection. Whatever else is asked for gets the description of a model.
    """
    turns = cycle(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read_head(reader):
            if head.startswith(b"POST"):
                answer = next(turns)
            elif head.startswith(b"GET /v1/models"):
                answer = answer_of(200, {"models": [MODEL]})
            else:
                answer = answer_of(404, {})
            if answer is not None:
                writer.write(answer)
            if answer is None or b"Connection: close" in answer:
                break
        writer.close()

    async def serve_until(stop: asyncio.Event, tell: Callable[[str], None]) -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        tell(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
        server.close()

    with in_thread(serve_until) as url:
        yield url


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Reads a whole request; its head, or nothing where the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Content-Length: " in head:
            length = head.split(b"Content-Length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    return head


def answer_of(status: int, body: Any) -> bytes:
    """A whole reply."""
    raw = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(raw), raw)


@contextmanager
def in_thread(
    serve_until: Callable[[asyncio.Event, Callable[[str], None]], Awaitable[None]],
) -> Iterator[str]:
    """Runs a server on a loop of its own; what it tells is its URL."""
    told: list[Any] = []
    is_up = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        told.extend([asyncio.get_running_loop(), stop])

        def tell(url: str) -> None:
            told.append(url)
            is_up.set()

        await serve_until(stop, tell)

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert is_up.wait(60), "the server did not start"
    loop, stop, url = told
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)

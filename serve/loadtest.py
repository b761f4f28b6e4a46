"""Clients that ask a service as fast as it answers: each sends its next request upon a reply.

They run in one process and share the machine with the service they measure, so a request costs
them little: bodies are made beforehand, and the HTTP is only what a load test needs. Nothing is
asked twice: a load test shows errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgpack
import numpy as np

from rllib_ez.errors import EfficientZeroError, SettingError
from serve.load_connection import Address, Connection
from serve.load_report import (
    Counters,
    LoadStep,
    ReadReply,
    ServerCpu,
    Tally,
    read_reply,
    reduced,
)
from serve.wire import json_array, raw_bytes

T = TypeVar("T")
FORMATS = {  # of a body, and its content type
    "raw": "application/octet-stream",
    "json": "application/json",
    "msgpack": "application/msgpack",
}
NUM_BODIES = 32  # different ones that the clients take in turn
PAUSE_SECONDS = 0.1  # after a connection that broke, or could not be had
TICK_SECONDS = 0.25
OnTick = Callable[[float], None]  # seconds of the step that have passed


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What is asked, by how many, for how long."""

    url: str  # http://HOST:PORT, with a prefix if the service has one
    model: str | None = None  # None: the service's default
    concurrency: tuple[int, ...] = (1, 8, 64)  # clients of each step
    seconds: float = 10.0  # measured in each step
    warm_up_seconds: float = 1.0  # before, not counted
    simulations: int | None = None  # of a search; None: as the service does by itself
    observations: int = 1  # of one request
    format: str = "raw"
    token: str | None = None
    seed: int = 0  # of the observations
    timeout_seconds: float = 60.0  # of one request

    def __post_init__(self) -> None:
        if not self.concurrency or min(self.concurrency) < 1:
            raise SettingError(f"concurrency must be numbers >= 1, got {self.concurrency}")
        if self.format not in FORMATS:
            raise SettingError(f"format must be one of {list(FORMATS)}, got {self.format!r}")
        for name in ("seconds", "timeout_seconds"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} must be > 0, got {getattr(self, name):g}")
        if self.observations < 1 or (self.simulations is not None and self.simulations < 1):
            raise SettingError(
                f"observations and simulations must be >= 1, got {self.observations} and "
                f"{self.simulations}"
            )


class LoadTest:
    """A service's model under load."""

    def __init__(self, settings: LoadSettings, *, read: ReadReply = read_reply) -> None:
        self.settings = settings
        self.address = Address.of(settings.url)
        self.model: dict[str, Any] = {}  # as the service describes it
        self.requests: Sequence[bytes] = ()  # whole ones, that the clients take in turn
        self._read = read

    async def prepare(self) -> None:
        """Asks for the model and makes the requests.

        Raises:
            EfficientZeroError: nothing answers, or it does not answer as a service does.
            SettingError: more observations or simulations than the service takes.
        """
        name = self.settings.model
        path = "/v1/models" if name is None else f"/v1/models/{quote(name, safe='')}"
        try:
            told = await self._get(path)
            self.model = json.loads(told)["models"][0] if name is None else json.loads(told)
            self.requests = requests_to(self.address, self.settings, self.model)
        except (ValueError, LookupError, TypeError) as error:
            if isinstance(error, EfficientZeroError):
                raise
            raise not_ours(self.settings.url, f"no description of a model: {error!r}") from error

    async def _get(self, path: str) -> str:
        connection = Connection(self.address, min(self.settings.timeout_seconds, 10.0))
        try:
            request = self.address.head("GET", path, self.settings.token)
            status, body = await connection.ask(request)
        except OSError as error:
            raise not_ours(self.settings.url, str(error) or repr(error)) from error
        finally:
            connection.close()
        if status != 200:
            raise not_ours(self.settings.url, f"HTTP {status}: {said(body)}")
        return body.decode()

    async def step(self, clients: int, on_tick: OnTick = lambda passed: None) -> LoadStep:
        """So many clients at once, until the time is over."""
        tally = Tally(read=self._read)
        tasks = [asyncio.create_task(self._client(i, tally)) for i in range(clients)]
        await self._tick(self.settings.warm_up_seconds, on_tick, 0.0)
        before, replies = await self._counters(), tally.num_replies
        begun, cpu = time.perf_counter(), time.process_time()
        tally.is_open = True
        await self._tick(self.settings.seconds, on_tick, self.settings.warm_up_seconds)
        tally.is_open, seconds = False, time.perf_counter() - begun
        cpu = time.process_time() - cpu
        after, replies = await self._counters(), tally.num_replies - replies
        tally.is_over = True
        await asyncio.gather(*tasks)
        return reduced(
            tally,
            concurrency=clients,
            seconds=seconds,
            client_cpu_seconds=cpu,
            server_cpu=ServerCpu.between(before, after, replies=replies),
        )

    async def _tick(self, seconds: float, on_tick: OnTick, done: float) -> None:
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            on_tick(done + passed)
            await asyncio.sleep(min(TICK_SECONDS, seconds - passed))

    async def _counters(self) -> Counters | None:
        try:
            return Counters.read(await self._get("/metrics"), model=str(self.model.get("name")))
        except (EfficientZeroError, ValueError, LookupError):  # not told, or not to us
            return None

    async def _client(self, number: int, tally: Tally) -> None:
        connection = Connection(self.address, self.settings.timeout_seconds)
        count, turn = self.settings.observations, number
        while not tally.is_over:
            begun = time.perf_counter()
            try:
                status, body = await connection.ask(self.requests[turn % len(self.requests)])
            except OSError as error:
                tally.error(error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            tally.reply(status, body, seconds=time.perf_counter() - begun, observations=count)
            turn += 1
        connection.close()


def requests_to(address: Address, settings: LoadSettings, model: dict[str, Any]) -> Sequence[bytes]:
    """Whole requests with random observations of the model's space, [L, *frame] each.

    Raises:
        SettingError: more observations or simulations than it takes.
    """
    for asked, limit in (
        ("observations", model["max_observations"]),
        ("simulations", model["simulations"]["max"]),
    ):
        if (getattr(settings, asked) or 0) > limit:
            raise SettingError(
                f"{asked} must be <= {limit} for {model['name']!r}, got {getattr(settings, asked)}"
            )
    rng = np.random.default_rng(settings.seed)
    shape = (settings.observations, *model["observation"]["shape"])
    path = f"/v1/models/{quote(model['name'], safe='')}/act"
    if settings.format == "raw" and settings.simulations is not None:
        path += f"?simulations={settings.simulations}"
    requests = []
    for _ in range(NUM_BODIES):
        body = encoded(random_stacks(rng, shape, model["observation"]["dtype"]), settings)
        headers = f"Content-Type: {FORMATS[settings.format]}\r\nContent-Length: {len(body)}\r\n"
        requests.append(address.head("POST", path, settings.token, headers) + body)
    return requests


def random_stacks(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Noise: bytes, or normal numbers."""
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(dtype)


def encoded(stacks: np.ndarray, settings: LoadSettings) -> bytes:
    """The body of a request for stacks [n, L, *frame]; n = 1 goes as a single observation."""
    if settings.format == "raw":
        return raw_bytes(stacks)
    one = len(stacks) == 1
    array = stacks[0] if one else stacks
    fields: dict[str, Any] = {}
    if settings.simulations is not None:
        fields["simulations"] = settings.simulations
    name = "observation" if one else "observations"
    if settings.format == "json":
        return json.dumps({name: json_array(array), **fields}).encode()
    packed = {"data": raw_bytes(array), "shape": list(array.shape), "dtype": array.dtype.name}
    return bytes(msgpack.packb({name: packed, **fields}))


def not_ours(url: str, got: str) -> EfficientZeroError:
    """What is wrong where no service of ours answers."""
    return EfficientZeroError(
        f"URL must be of a service that answers (ez serve starts one), got {url}: {got}"
    )


def said(body: bytes) -> str:
    """An error's own words."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return body[:200].decode("latin-1")


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end, on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)

"""A roster whose loads and searches a test opens one by one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_ez.core.agent_card import AgentCard
from serve.batcher import Batcher
from serve.roster import Roster
from serve.settings import ServiceSettings
from tests.serve.agents import VECTOR, HereBoard

Answer = tuple[int, str]  # version, checkpoint


@dataclass(frozen=True)
class Model:
    """Stands for a `ServedModel`: answers with its version and its checkpoint's name."""

    version: int
    path: str
    card: AgentCard
    gate: threading.Event

    def search(self, queries: list[Any]) -> list[Answer]:
        assert self.gate.wait(5)
        return [(self.version, Path(self.path).name)] * len(queries)


@dataclass
class Loader:
    """Stands for `load_model`."""

    loaded: list[str] = field(default_factory=list)  # names of checkpoints
    broken: dict[str, Exception] = field(default_factory=dict)
    cards: dict[str, AgentCard] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)  # loads end
    search_gate: threading.Event = field(default_factory=threading.Event)  # searches end

    def __post_init__(self) -> None:
        self.gate.set()
        self.search_gate.set()

    def __call__(self, checkpoint: str, *, version: int, **_: Any) -> Any:
        name = Path(checkpoint).name
        self.loaded.append(name)
        assert self.gate.wait(5)
        if name in self.broken:
            raise self.broken[name]
        return Model(version, checkpoint, self.cards.get(name, VECTOR), self.search_gate)


@dataclass
class Replica:
    """A roster with all that it needs."""

    roster: Roster
    batcher: Batcher
    board: HereBoard
    loader: Loader
    reloads: list[tuple[str, str]]

    async def ask(self, name: str = "m") -> Answer:
        seat, _ = self.roster.model(name)
        query: Any = None
        answered: Any = await self.batcher.submit(seat.lane, query, count=1, timeout=5)
        return answered.answer

    def waiting(self, name: str = "m") -> asyncio.Task[Answer]:
        return asyncio.create_task(self.ask(name))


@asynccontextmanager
async def replica(
    models: dict[str, str] | None = None, *, board: HereBoard | None = None
) -> AsyncIterator[Replica]:
    settings, link, loader = ServiceSettings(), board or HereBoard(), Loader()
    batcher, reloads = Batcher(settings.batcher), list[tuple[str, str]]()
    roster = Roster(
        settings, batcher, link, load=loader, on_reload=lambda *what: reloads.append(what)
    )
    here = Replica(roster, batcher, link, loader, reloads)
    if models:
        await roster.configure({name: {"checkpoint": path} for name, path in models.items()})
    yield here
    loader.gate.set()
    loader.search_gate.set()
    await batcher.drain(5)


def c(number: int) -> str:
    return f"checkpoint_{number:09d}"


async def begun(loader: Loader, count: int) -> None:
    """Waits until so many loads have begun."""
    end = time.monotonic() + 20
    while len(loader.loaded) < count and time.monotonic() < end:
        await asyncio.sleep(0.005)
    assert len(loader.loaded) == count

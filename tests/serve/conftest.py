"""What tests of the service share: agents, a board, and a service without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.service import Service
from serve.settings import ServiceSettings
from tests.serve.agents import PIXEL, HereBoard, appear, written

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def vector_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for CartPole-v1: frames [4] f32, no stack, 2 actions, 8 simulations."""
    return written(tmp_path_factory.mktemp("vector") / "checkpoint_000000100")


@pytest.fixture(scope="session")
def pixel_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for DelayedCatch: frames [32, 32, 3] uint8, stacked by 3, 3 actions."""
    return written(tmp_path_factory.mktemp("pixel") / "checkpoint_000000100", PIXEL)


@pytest.fixture
def board_link() -> HereBoard:
    """A board of this test alone."""
    return HereBoard()


@pytest.fixture
def started_service(
    vector_agent: Path, pixel_agent: Path, board_link: HereBoard
) -> Callable[..., AbstractAsyncContextManager[Service]]:
    """A started service within `async with started_service(**settings) as service`.

    It serves "vector" and "pixel", or what `models` names (name: checkpoint).
    """

    @asynccontextmanager
    async def start(
        models: dict[str, Path] | None = None, **settings: Any
    ) -> AsyncIterator[Service]:
        paths = models or {"vector": vector_agent, "pixel": pixel_agent}
        service = Service(ServiceSettings.of({"access_log": False, **settings}), board_link)
        await service.start({name: {"checkpoint": str(path)} for name, path in paths.items()})
        try:
            yield service
        finally:
            await service.stop()

    return start


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Four checkpoints of a run, without weights."""
    return [appear(tmp_path / "run", steps) for steps in range(1, 5)]

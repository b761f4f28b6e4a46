"""Small random agents to serve, and a board in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.config import ModelConfig, SearchConfig
from serve.board import Board
from tests.core.test_networks import made

VECTOR = AgentCard(
    env="CartPole-v1",
    env_config={},
    frame_size=96,
    grayscale=False,
    frame_dtype="float32",
    model=ModelConfig(
        frame_shape=(4,),
        num_actions=2,
        hidden_size=8,
        lstm_size=4,
        projection_size=8,
        prediction_hidden_size=4,
    ),
    search=SearchConfig(num_simulations=8),
    seed=3,
    num_env_steps=100,
    num_updates=25,
    written_by="test",
)
PIXEL = replace(
    VECTOR,
    env="rllib_ez/DelayedCatch-v0",
    frame_dtype="uint8",
    model=ModelConfig(
        network="pixel",
        frame_shape=(32, 32, 3),
        frame_stack=3,
        num_actions=3,
        latent_channels=4,
        downsampling=8,
        head_channels=2,
        head_hidden_size=4,
        lstm_size=4,
        value_bins=11,
        value_prefix_bins=7,
        projection_size=8,
        prediction_hidden_size=4,
    ),
)


def written(
    checkpoint: Path,
    card: AgentCard = VECTOR,
    *,
    change: Callable[[dict[str, Tensor]], None] = lambda weights: None,
) -> Path:
    """Writes an untrained agent whose outputs depend on its inputs; the checkpoint's folder."""
    weights = made(card.model, restless=True).inference_state_dict()
    change(weights)
    write_agent(checkpoint / FOLDER, card, weights)
    return checkpoint


class HereBoard:
    """A board in this process, that can be lost and started anew."""

    def __init__(self) -> None:
        self.board = Board()
        self.is_lost = False

    async def call(self, method: str, *args: Any) -> dict[str, Any]:
        """One of the board's methods."""
        if self.is_lost:
            raise ConnectionError("the board is gone")
        state: dict[str, Any] = getattr(self.board, method)(*args)
        return state


def appear(run: Path, steps: int) -> str:
    """A checkpoint appears whole, by its last name, with a card that nobody may read."""
    draft = run / f".checkpoint_{steps:09d}.draft-1"
    (draft / FOLDER).mkdir(parents=True)
    (draft / FOLDER / "weights.pt").touch()
    (draft / FOLDER / "card.json").write_text("{}")
    return str(draft.rename(run / f"checkpoint_{steps:09d}"))

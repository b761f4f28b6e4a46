"""The agents that are served."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.paper import NETWORK
from rllib_ez.core.agent_card import AgentCard, read_agent, write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.networks import EfficientZeroModel


def write_paper_agent(folder: Path) -> Path:
    """An untrained agent of the paper's size."""
    model = replace(NETWORK, num_actions=6)
    card = AgentCard(
        env="pong",
        env_config={},
        frame_size=96,
        grayscale=False,
        frame_dtype="uint8",
        model=model,
        search=SearchConfig(num_simulations=50, discount=0.997**4),
        seed=0,
        num_env_steps=0,
        num_updates=0,
        written_by="benchmarks.serving",
    )
    checkpoint = folder / "checkpoint_000000000"
    write_agent(checkpoint / FOLDER, card, EfficientZeroModel(model).inference_state_dict())
    return checkpoint


def described(checkpoint: str) -> dict[str, Any]:
    """What is served."""
    card, _ = read_agent(checkpoint)
    shape = shape_of(card)
    return {
        "checkpoint": checkpoint,
        "env_steps": card.num_env_steps,
        "network": card.model.network,
        "observation": shape,
        "bytes": math.prod(shape) * np.dtype(card.frame_dtype).itemsize,
        "search_method": card.search.search_method,
        "simulations": card.search.num_simulations,
    }


def shape_of(card: AgentCard) -> list[int]:
    """[L, *frame]."""
    return [card.model.frame_stack, *card.model.frame_shape]

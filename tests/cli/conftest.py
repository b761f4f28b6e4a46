"""Agents and runs to call commands on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from rllib_ez.core.agent_card import FOLDER, AgentCard, write_agent
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel

ROOT = Path(__file__).parents[2]
# Two rounds of random steps, then 10 updates a round.
TINY = [
    *("--set", "num_random_steps=60", "--set", "num_simulations=4", "--set", "batch_size=16"),
    *("--set", "rollout_fragment_length=5", "--set", "batches_ahead=5"),
    *("--evaluation-episodes", "2"),
]


def ez(*args: str) -> Result:
    """Calls a command in this process."""
    return CliRunner().invoke(app, list(args))


def ez_process(*args: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Calls a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained agent for CartPole-v1, as a checkpoint."""
    model = ModelConfig(hidden_size=8, lstm_size=4, projection_size=8, prediction_hidden_size=4)
    card = AgentCard(
        env="CartPole-v1",
        env_config={},
        frame_size=96,
        grayscale=False,
        frame_dtype="float32",
        model=model,
        search=SearchConfig(num_simulations=2),
        seed=0,
        num_env_steps=100,
        num_updates=10,
        written_by="test",
    )
    weights = EfficientZeroModel(model).inference_state_dict()
    folder = tmp_path / "checkpoint_000000100"
    write_agent(folder / FOLDER, card, weights)
    return folder

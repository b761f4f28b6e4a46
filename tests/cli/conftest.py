"""Agents and runs to call commands on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.agent_folder import FOLDER
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


def trained(*args: str) -> dict[str, Any]:
    """Calls `ez train`; the JSON object on the last line of stdout."""
    done = ez_process(*args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def ez_background(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, in a group of its own; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_rows(run: Path, *, at_least: int) -> None:
    """Waits until so many rounds are on record."""
    path = run / "progress.jsonl"
    wait_for(lambda: path.exists() and path.read_text().count("\n") >= at_least)


def wait_for(is_there: Any, *, seconds: float = 120) -> None:
    """Waits until it is, and fails after so many seconds."""
    end = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


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

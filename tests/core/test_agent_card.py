from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rllib_ez.core.agent_card import AgentCard, read_agent, write_agent
from rllib_ez.core.agent_folder import find_agent
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.errors import CheckpointError

CARD = AgentCard(
    env="CartPole-v1",
    env_config={"gravity": 9.0},
    frame_size=96,
    grayscale=False,
    frame_dtype="float32",
    model=ModelConfig(frame_shape=(2,), observation_scale=(1.0, 0.5)),
    search=SearchConfig(num_simulations=7),
    seed=3,
    num_env_steps=100,
    num_updates=25,
    written_by="0.1.0",
)
WEIGHTS = {"w": torch.tensor([1.5])}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint's folder with an agent in it."""
    folder = tmp_path / "checkpoint_000001"
    write_agent(folder / "agent", CARD, WEIGHTS)
    return folder


def change_card(checkpoint: Path, **changes: object) -> None:
    path = checkpoint / "agent" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_agent_comes_back_exactly(checkpoint: Path):
    card, weights = read_agent(checkpoint)
    assert card == CARD
    assert weights["w"].tolist() == [1.5]


def test_a_runs_newest_checkpoint_is_read(checkpoint: Path):
    newest = checkpoint.parent / "checkpoint_000012"
    write_agent(newest / "agent", CARD, WEIGHTS)
    assert find_agent(checkpoint.parent) == newest / "agent"


def test_an_unfinished_checkpoint_is_passed_over(checkpoint: Path):
    (checkpoint.parent / "checkpoint_000012" / "agent").mkdir(parents=True)
    assert find_agent(checkpoint.parent) == checkpoint / "agent"


def test_a_missing_path_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"must exist, got '.*nowhere'"):
        read_agent(tmp_path / "nowhere")


def test_a_foreign_folder_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="not a checkpoint of rllib_ez"):
        read_agent(tmp_path)


def test_a_file_is_refused(tmp_path: Path):
    (tmp_path / "model.pt").write_bytes(b"?")
    with pytest.raises(CheckpointError, match="not a checkpoint of rllib_ez"):
        read_agent(tmp_path / "model.pt")


def test_a_newer_format_is_refused_with_advice(checkpoint: Path):
    change_card(checkpoint, format_version=2, written_by="9.9")
    with pytest.raises(CheckpointError, match=r"got 2; written by rllib_ez 9\.9: install"):
        read_agent(checkpoint)


def test_another_programs_card_is_refused(checkpoint: Path):
    change_card(checkpoint, format="lightzero")
    with pytest.raises(CheckpointError, match="not an agent of rllib_ez"):
        read_agent(checkpoint)


@pytest.mark.parametrize("text", ["", '{"format": "rllib-ez', "[]", "null", "\x00\x01"])
def test_a_torn_card_is_refused(checkpoint: Path, text: str):
    (checkpoint / "agent" / "card.json").write_text(text)
    with pytest.raises(CheckpointError, match="readable card"):
        read_agent(checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"model": {}},
        {"model": None},
        {"search": {"num_simulations": 0}},
        {"search": {"dream": True}},
    ],
)
def test_a_card_with_wrong_entries_is_refused(checkpoint: Path, changes: dict):
    change_card(checkpoint, **changes)
    with pytest.raises(CheckpointError, match="readable card"):
        read_agent(checkpoint)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_weights_cut_short_are_refused(checkpoint: Path, keep: int):
    path = checkpoint / "agent" / "weights.pt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="use an earlier checkpoint"):
        read_agent(checkpoint)


def test_missing_weights_are_refused(checkpoint: Path):
    (checkpoint / "agent" / "weights.pt").unlink()
    with pytest.raises(CheckpointError, match="FileNotFoundError"):
        read_agent(checkpoint)


def test_weights_that_would_run_code_are_refused(checkpoint: Path):
    torch.save({"w": Path("/")}, checkpoint / "agent" / "weights.pt")  # a pickled object
    with pytest.raises(CheckpointError, match="UnpicklingError"):
        read_agent(checkpoint)

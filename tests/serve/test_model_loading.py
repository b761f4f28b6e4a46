from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_ez.core.agent_card import AgentCard
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.types import SearchResult
from rllib_ez.errors import CheckpointError
from serve.models import ServedModel, load_model, try_out, warm_up_sizes
from serve.settings import ServiceSettings
from tests.core.test_networks import made
from tests.serve.agents import PIXEL, VECTOR, written


def load(path: Path, **settings: Any) -> ServedModel:
    checked = ServiceSettings.of(settings)
    return load_model(str(path), name="m", version=3, settings=checked)


@pytest.fixture(scope="module")
def vector(vector_agent: Path) -> ServedModel:
    return load(vector_agent)


def weights_of(card: AgentCard) -> dict[str, Tensor]:
    return made(card.model).inference_state_dict()


@pytest.mark.parametrize("card", [VECTOR, PIXEL], ids=["vector", "pixel"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_wherever_they_are(
    tmp_path: Path, card: AgentCard, number: float
):
    def spoil(weights: dict[str, Tensor]) -> None:
        weights[name] = weights[name].clone()
        weights[name].view(-1)[-1] = number

    names = [name for name, weight in weights_of(card).items() if weight.is_floating_point()]
    for name in names:
        path = written(tmp_path / name, card, change=spoil)
        with pytest.raises(CheckpointError, match=f"got nan or infinity in {name};"):
            load(path)
    assert len(names) > 20


@pytest.mark.parametrize("head", ["policy", "value"])
def test_a_network_that_overflows_fails_the_self_test(tmp_path: Path, head: str):
    def spoil(weights: dict[str, Tensor]) -> None:
        for name in weights:
            if name.startswith(f"prediction.{head}."):
                weights[name] = torch.full_like(weights[name], 3e38)

    path = written(tmp_path / "checkpoint_000000001", change=spoil)
    with pytest.raises(CheckpointError, match="must give finite numbers"):
        load(path)


@pytest.mark.parametrize(
    ("name", "number"), [("action", 2), ("action", -1), ("root_value", np.nan)]
)
def test_a_search_that_gives_nonsense_fails_the_self_test(
    vector: ServedModel, name: str, number: float
):
    class Wrong:
        observation_shape = vector.agent.observation_shape
        card = vector.card

        def search(self, stacks: np.ndarray, **given: Any) -> SearchResult:
            result = vector.agent.search(stacks, **given)
            return replace(result, **{name: np.full_like(getattr(result, name), number)})

    wrong: Any = Wrong()
    with pytest.raises(CheckpointError, match="must pass its self-test"):
        try_out(replace(vector, agent=wrong), 2)


def test_a_missing_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="must exist"):
        load(tmp_path / "nowhere")


def test_weights_cut_short_are_refused(tmp_path: Path):
    path = written(tmp_path / "checkpoint_000000001")
    whole = (path / FOLDER / "weights.pt").read_bytes()
    (path / FOLDER / "weights.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="whole weights"):
        load(path)


def test_a_model_tells_where_it_is_from(vector_agent: Path, vector: ServedModel):
    weights = (vector_agent / FOLDER / "weights.pt").read_bytes()
    assert vector.sha256 == hashlib.sha256(weights).hexdigest()
    assert (vector.name, vector.version, vector.path) == ("m", 3, str(vector_agent))
    assert vector.card == VECTOR


def test_a_runs_folder_means_its_newest_checkpoint(tmp_path: Path, vector_agent: Path):
    for steps in (100, 200):
        shutil.copytree(vector_agent, tmp_path / f"checkpoint_{steps:09d}")
    assert load(tmp_path).path == str(tmp_path / "checkpoint_000000200")


def test_the_runs_score_is_found_beside_the_checkpoint(tmp_path: Path, vector_agent: Path):
    shutil.copytree(vector_agent, tmp_path / "checkpoint_000000100")
    rows = [
        {"env_steps": 100, "evaluation": {"return_mean": 20.0, "returns": [10.0, 30.0]}},
        {"env_steps": 101, "evaluation": {"return_mean": 99.0, "returns": [99.0]}},
    ]
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = {"return_mean": 20.0, "episodes": 2, "env_steps": 100}
    assert load(tmp_path / "checkpoint_000000100").evaluation == expected
    assert load(tmp_path).evaluation == expected


@pytest.mark.parametrize("place", ["checkpoint_000000100", "..", "checkpoint_000000100/agent"])
def test_no_other_score_is_taken(tmp_path: Path, vector_agent: Path, place: str):
    run = tmp_path / "run"
    shutil.copytree(vector_agent, run / "checkpoint_000000100")
    row = {"env_steps": 100, "evaluation": {"return_mean": 20.0, "returns": [20.0]}}
    (run / place / "progress.jsonl").write_text(json.dumps(row) + "\n")
    assert load(run).evaluation is None


def test_a_request_may_ask_for_what_the_service_allows(vector_agent: Path):
    limits = load(vector_agent, max_simulations=30, max_batch=5).limits
    assert limits.default_simulations == 8  # as the agent was evaluated
    assert (limits.max_simulations, limits.max_observations) == (30, 5)
    limits = load(vector_agent, simulations=40, max_simulations=30).limits
    assert (limits.default_simulations, limits.max_simulations) == (40, 40)


def test_every_size_that_a_gpu_captures_is_warmed_up():
    assert warm_up_sizes(ServiceSettings()) == [1]
    on_gpu = ServiceSettings.of({"device": "cuda", "max_batch": 48})
    assert warm_up_sizes(on_gpu) == [8, 16, 32, 48]

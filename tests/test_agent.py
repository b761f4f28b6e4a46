"""`Agent` from the outside: a checkpoint in, actions out, clear words where that cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_ez.agent import Agent
from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import search
from rllib_ez.errors import CheckpointError, ObservationError
from tests.core.test_networks import PIXEL, VECTOR, made

SEARCH = SearchConfig(num_simulations=10)


def save(folder: Path, model: ModelConfig, *, dtype: str, weights: object = None) -> Path:
    card = AgentCard(
        env="Toy-v0",
        env_config={},
        frame_size=96,
        grayscale=True,
        frame_dtype=dtype,
        model=model,
        search=SEARCH,
        seed=3,
        num_env_steps=0,
        num_updates=0,
        written_by="test",
    )
    if weights is None:
        weights = made(model, restless=True).inference_state_dict()
    write_agent(folder / "checkpoint_000000" / "agent", card, weights)
    return folder


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory) -> Path:
    """Frames [3], stacked by 2, 4 actions."""
    return save(tmp_path_factory.mktemp("vector"), VECTOR, dtype="float32")


@pytest.fixture(scope="module")
def pixel_run(tmp_path_factory) -> Path:
    """Frames [24, 24, 1] uint8, stacked by 2, 4 actions."""
    return save(tmp_path_factory.mktemp("pixel"), PIXEL, dtype="uint8")


STACK = np.array([[0.1, -2.0, 3.0], [0.2, -1.0, 2.0]], np.float32)
PICTURE = np.arange(576, dtype=np.uint8).reshape(24, 24, 1)


def test_acting_is_what_the_search_says(vector_run: Path):
    agent = Agent.load(vector_run)
    model = InferenceModel(made(VECTOR, restless=True))
    seeds = search_seeds(0, Stream.EVALUATE, np.zeros(1, np.int64))
    expected = search(model, model.root(STACK[None]), config=SEARCH, seeds=seeds, root_noise=False)
    assert agent.act(STACK) == int(expected.action[0])
    got = agent.search(STACK[None])
    np.testing.assert_array_equal(got.visit_counts, expected.visit_counts)
    np.testing.assert_allclose(got.root_value, expected.root_value, rtol=1e-5)


def test_acting_is_repeatable(vector_run: Path):
    agent = Agent.load(vector_run)
    assert agent.act(STACK) == agent.act(STACK) == Agent.load(vector_run).act(STACK)


def test_a_single_frame_fills_the_stack(vector_run: Path):
    agent, frame = Agent.load(vector_run), STACK[0]
    np.testing.assert_array_equal(
        agent.search(np.stack([frame, frame])[None]).visit_counts[0],
        agent.search(agent._single(frame)[None]).visit_counts[0],
    )
    assert agent.act(frame) in range(4)


def test_lists_and_doubles_are_taken(vector_run: Path):
    agent = Agent.load(vector_run)
    assert agent.act(STACK.tolist()) == agent.act(STACK) == agent.act(STACK.astype(np.float64))


def test_pixels_are_taken_as_bytes(pixel_run: Path):
    assert Agent.load(pixel_run).act(PICTURE) in range(4)


def test_the_number_of_simulations_can_be_chosen(vector_run: Path):
    agent = Agent.load(vector_run, num_simulations=33)
    assert agent.search(STACK[None]).visit_counts.sum() == 33


def test_each_observation_may_have_its_own_budget(vector_run: Path):
    budget = np.array([3, 12, 1])
    result = Agent.load(vector_run).search(np.stack([STACK] * 3), num_simulations=budget)
    assert result.visit_counts.sum(axis=1).tolist() == [3, 12, 1]


def test_a_search_tells_more_when_asked(vector_run: Path):
    agent, stacks = Agent.load(vector_run), np.stack([STACK, -STACK])
    result = agent.search(stacks, trace=True)
    assert result.trace is not None
    assert result.trace.principal_variation[:, 0].tolist() == result.action.tolist()
    assert (np.isnan(result.trace.q) == (result.visit_counts == 0)).all()
    assert agent.search(stacks).trace is None


def test_illegal_actions_are_not_taken(vector_run: Path):
    legal = np.array([[False, False, True, False]])
    assert Agent.load(vector_run).search(STACK[None], legal=legal).action.tolist() == [2]


def test_the_observation_is_left_as_it_was(vector_run: Path):
    before = STACK.copy()
    Agent.load(vector_run).act(STACK)
    np.testing.assert_array_equal(STACK, before)


def test_evaluation_plays_by_episode_and_step(vector_run: Path):
    agent = Agent.load(vector_run)
    seeds = search_seeds(3, Stream.EVALUATE, np.array([[8, 2]]))
    expected = agent.search(STACK[None], seeds=seeds).action
    got = agent.policy(STACK[None], np.array([8]), np.array([2]))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "observation",
    [
        np.zeros(4, np.float32),
        np.zeros((3, 3), np.float32),
        np.zeros((1, 2, 3), np.float32),
        np.float32(0),
        [],
        None,
        [[1.0, 2.0, 3.0], [1.0]],
    ],
)
def test_another_shape_is_refused(vector_run: Path, observation: object):
    with pytest.raises(ObservationError, match="observation must"):
        Agent.load(vector_run).act(observation)


@pytest.mark.parametrize("batch", [STACK, np.zeros((0, 2, 3), np.float32)])
def test_a_batch_of_another_shape_is_refused(vector_run: Path, batch: np.ndarray):
    with pytest.raises(ObservationError, match="must have shape"):
        Agent.load(vector_run).search(batch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(vector_run: Path, bad: float):
    stack = STACK.copy()
    stack[1, 2] = bad
    with pytest.raises(ObservationError, match="must be finite"):
        Agent.load(vector_run).act(stack)


def test_words_are_refused(vector_run: Path):
    with pytest.raises(ObservationError, match="must be numbers, got dtype"):
        Agent.load(vector_run).act([["a", "b", "c"]] * 2)


def test_pixels_as_floats_are_refused(pixel_run: Path):
    """They could be in 0..1 or in 0..255."""
    with pytest.raises(ObservationError, match=r"must be uint8 \(pixels 0..255\), got float64"):
        Agent.load(pixel_run).act(PICTURE / 255)


@pytest.mark.parametrize("channels_first", [np.zeros((1, 24, 24), np.uint8)])
def test_channels_first_are_refused(pixel_run: Path, channels_first: np.ndarray):
    with pytest.raises(ObservationError, match=r"\(2, 24, 24, 1\)"):
        Agent.load(pixel_run).act(channels_first)


def test_a_missing_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such folder"):
        Agent.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "weights", [{"w": torch.zeros(1)}, torch.zeros(3), made(PIXEL).inference_state_dict()]
)
def test_weights_of_another_network_are_refused(tmp_path: Path, weights: object):
    save(tmp_path, VECTOR, dtype="float32", weights=weights)
    with pytest.raises(CheckpointError, match="weights that fit its card"):
        Agent.load(tmp_path)


def test_acting_loads_no_ray(vector_run: Path):
    code = (
        f"import sys; from rllib_ez import Agent; Agent.load({str(vector_run)!r})"
        ".act([[0.0] * 3] * 2); print(*sorted({'ray', 'gymnasium'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""

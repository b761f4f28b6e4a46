from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.acting import Actor, FrameStacks, temperature_at
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import sample_actions, search
from tests.core.test_networks import VECTOR, made, observations

SEARCH = SearchConfig(num_simulations=12)


@pytest.fixture
def actor() -> Actor:
    model = InferenceModel.blank(VECTOR)
    model.load(made(VECTOR, restless=True).state_dict())
    return Actor(model, SEARCH)


def test_an_episodes_first_frame_fills_its_stack():
    stacks = FrameStacks(2, 3, (1,), np.dtype(np.float32))
    stacks.start(np.array([1]), np.array([[7.0]]))
    assert stacks.stacks[:, :, 0].tolist() == [[0, 0, 0], [7, 7, 7]]


def test_frames_are_stacked_oldest_first():
    stacks = FrameStacks(2, 3, (1,), np.dtype(np.float32))
    stacks.start(np.array([0, 1]), np.array([[1.0], [2.0]]))
    for step in (10.0, 20.0):
        stacks.push(np.array([[step], [step + 1]]))
    assert stacks.stacks[:, :, 0].tolist() == [[1, 10, 20], [2, 11, 21]]


def test_one_environment_restarts_while_its_neighbour_plays_on():
    stacks = FrameStacks(2, 2, (1,), np.dtype(np.uint8))
    stacks.start(np.array([0, 1]), np.array([[1], [2]], np.uint8))
    stacks.push(np.array([[3], [4]], np.uint8))
    stacks.start(np.array([1]), np.array([[9]], np.uint8))
    assert stacks.stacks[:, :, 0].tolist() == [[1, 3], [9, 9]]


@pytest.mark.parametrize(
    ("update", "temperature"),
    [(0, 1.0), (49_999, 1.0), (50_000, 0.5), (74_999, 0.5), (75_000, 0.25), (10**6, 0.25)],
)
def test_temperature_falls_at_half_and_at_three_quarters(update: int, temperature: float):
    assert temperature_at(update, temperature_updates=100_000) == temperature


def test_exploiting_is_a_search_without_noise(actor: Actor):
    seen, seeds = observations(VECTOR, 3).numpy(), np.array([5, 6, 7], np.uint64)
    expected = search(
        actor.model, actor.model.root(seen), config=SEARCH, seeds=seeds, root_noise=False
    )
    result = actor.exploit(seen, seeds=seeds)
    np.testing.assert_array_equal(result.visit_counts, expected.visit_counts)
    np.testing.assert_array_equal(result.action, expected.visit_counts.argmax(axis=1))


def test_exploring_searches_with_noise_and_draws_by_visits(actor: Actor):
    seen, seeds = observations(VECTOR, 3).numpy(), np.array([5, 6, 7], np.uint64)
    expected = search(
        actor.model, actor.model.root(seen), config=SEARCH, seeds=seeds, root_noise=True
    )
    action, result = actor.explore(seen, seeds=seeds, temperature=0.5, rng=np.random.default_rng(1))
    drawn = sample_actions(expected.visit_counts, temperature=0.5, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(result.visit_counts, expected.visit_counts)
    np.testing.assert_array_equal(action, drawn)


def test_exploiting_keeps_to_legal_actions(actor: Actor):
    legal = np.array([[False, True, False, False]] * 2)
    result = actor.exploit(
        observations(VECTOR, 2).numpy(), seeds=np.zeros(2, np.uint64), legal=legal
    )
    assert result.action.tolist() == [1, 1]


def test_evaluation_depends_on_run_episode_and_step(actor: Actor):
    seen, columns = observations(VECTOR, 2).numpy(), np.array([[3, 0], [4, 1]])
    seeds = search_seeds(9, Stream.EVALUATE, columns)
    expected = actor.exploit(seen, seeds=seeds).action
    got = actor.play(seen, columns[:, 0], columns[:, 1], seed=9)
    np.testing.assert_array_equal(got, expected)

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search_timing import SearchRun, load_engine, random_observations
from rllib_ez.errors import CheckpointError

MODEL = ModelConfig(hidden_size=8, lstm_size=4, projection_size=8, prediction_hidden_size=4)


def run_of(batch: int, *, num_simulations: int = 3, engine: str = "auto") -> SearchRun:
    weights = EfficientZeroModel(MODEL).inference_state_dict()
    model = load_engine(MODEL, weights, engine=engine)
    observations = random_observations(MODEL, batch, seed=0)
    config = SearchConfig(num_simulations=num_simulations)
    return SearchRun(model, config, observations, root_noise=True)


def test_a_search_has_as_many_simulations_as_told():
    counts = run_of(2, num_simulations=3).search().visit_counts
    np.testing.assert_array_equal(counts.sum(axis=1), [3, 3])


def test_no_search_has_the_seeds_of_the_one_before():
    run = run_of(1, num_simulations=40)
    counts = [run.search().visit_counts.tolist() for _ in range(8)]
    assert counts != [counts[0]] * 8


def test_the_network_alone_is_called_as_often_as_in_a_search(monkeypatch: pytest.MonkeyPatch):
    run, called = run_of(2, num_simulations=5, engine="torch"), []
    step = run.model.network.step
    monkeypatch.setattr(run.model.network, "step", lambda *args: called.append(1) or step(*args))
    run.network()
    run.search()
    assert len(called) == 10


def test_a_timing_tells_what_was_timed():
    timing = run_of(2).time(seconds=0)
    assert (timing.batch_size, timing.num_simulations, timing.rounds) == (2, 3, 3)


def test_observations_are_what_the_network_takes():
    pixels = ModelConfig(network="pixel", frame_shape=(16, 16, 1), frame_stack=2)
    observations = random_observations(pixels, 3, seed=0)
    assert (observations.shape, observations.dtype) == ((3, 2, 16, 16, 1), np.uint8)


def test_weights_of_another_shape_are_refused():
    other = ModelConfig(hidden_size=16, lstm_size=4)
    with pytest.raises(CheckpointError, match="weights that fit its card"):
        load_engine(MODEL, EfficientZeroModel(other).inference_state_dict())

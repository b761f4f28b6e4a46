"""The compiled model beside plain torch, and its promise about rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.search import search
from rllib_ez.core.types import SearchResult
from tests.core.test_networks import PIXEL, VECTOR, made, observations

BOTH = pytest.mark.parametrize("config", [VECTOR, PIXEL], ids=["vector", "pixel"])
SEARCH = SearchConfig(num_simulations=20)
FIELDS = ("action", "policy", "visit_counts", "visit_probs", "root_value", "network_value")


def searched(model, seen: np.ndarray, rows=None, **settings) -> SearchResult:
    seeds = np.arange(len(seen), dtype=np.uint64) + 7
    budget = np.arange(len(seen)) % 5 * 4 + 4
    if rows is not None:
        seen, seeds, budget = seen[rows], seeds[rows], budget[rows]
    root = model.root(seen)
    return search(model, root, config=SEARCH, seeds=seeds, num_simulations=budget, root_noise=True)


def both_models(config) -> tuple[CompiledModel, InferenceModel]:
    return CompiledModel(made(config, restless=True)), InferenceModel(made(config, restless=True))


@BOTH
def test_roots_are_those_of_torch(config):
    compiled, plain = both_models(config)
    seen = observations(config, 5).numpy()
    ours, theirs = compiled.root(seen), plain.root(seen)
    np.testing.assert_allclose(ours.prior, theirs.prior, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-4, atol=1e-4)


@BOTH
def test_searches_are_those_of_torch(config):
    """Visits agree; only a near tie could turn on the last bits, and there is none here."""
    compiled, plain = both_models(config)
    seen = observations(config, 8).numpy()
    ours, theirs = searched(compiled, seen), searched(plain, seen)
    np.testing.assert_array_equal(ours.visit_counts, theirs.visit_counts)
    np.testing.assert_allclose(ours.root_value, theirs.root_value, rtol=1e-4, atol=1e-4)


@BOTH
@pytest.mark.parametrize("rows", [[3], [0, 2], [7, 6, 5, 4, 3, 2, 1, 0], [1, 1, 1]])
def test_rows_know_nothing_of_the_batch_they_stand_in(config, rows):
    """Bit for bit: in other sizes, other orders, beside other budgets."""
    model = CompiledModel(made(config, restless=True))
    seen = observations(config, 8).numpy()
    whole, part = searched(model, seen), searched(model, seen, rows)
    for name in FIELDS:
        assert getattr(part, name).tobytes() == getattr(whole, name)[rows].tobytes(), name


@BOTH
def test_threads_change_nothing(config, monkeypatch):
    model = CompiledModel(made(config, restless=True))
    seen = observations(config, 8).numpy()
    alone = searched(model, seen)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr("rllib_ez.core.compiled.model.WORTH_A_THREAD", 1.0)
    shared = searched(model, seen)
    assert model._threads is not None
    for name in FIELDS:
        assert getattr(shared, name).tobytes() == getattr(alone, name).tobytes(), name


def test_threads_get_rows_of_like_work(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("rllib_ez.core.compiled.model.WORTH_A_THREAD", 1.0)
    model = CompiledModel(made(VECTOR))
    budget = np.array([40, 10, 10, 10, 10], np.int32)
    assert model.parts(budget) == [slice(0, 1), slice(1, 5)]


def test_little_work_stays_on_one_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    model = CompiledModel(made(VECTOR))
    assert model.parts(np.array([4, 4], np.int32)) == [slice(0, 2)]


@BOTH
def test_loaded_weights_are_used_at_once(config):
    network = made(config, restless=True)
    model = CompiledModel.blank(config)
    model.load(network.inference_state_dict())
    seen = observations(config, 3).numpy()
    expected = InferenceModel(network).root(seen)
    np.testing.assert_allclose(model.root(seen).value, expected.value, rtol=1e-4, atol=1e-4)


@BOTH
def test_weights_moved_by_training_arrive_with_refresh(config):
    network = made(config, restless=True)
    model = CompiledModel(network)
    seen = observations(config, 3).numpy()
    before = model.root(seen).value
    with torch.no_grad():
        for weight in network.prediction.parameters():
            weight.mul_(0.5)
    np.testing.assert_array_equal(model.root(seen).value, before)
    model.refresh()
    assert not np.allclose(model.root(seen).value, before)


def test_a_weight_of_another_shape_is_refused():
    weights = made(VECTOR).inference_state_dict()
    weights["prediction.policy.bias"] = torch.zeros(7)
    with pytest.raises(RuntimeError, match="prediction.policy.bias"):
        CompiledModel.blank(VECTOR).load(weights)


def test_making_a_blank_model_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    CompiledModel.blank(VECTOR)
    assert torch.equal(torch.rand(1), expected)

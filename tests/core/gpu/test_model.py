from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.gpu.model import GpuModel
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import WholeSearch
from rllib_ez.core.types import SearchResult
from tests.core.gpu.test_folded import lived_in
from tests.core.test_networks import PIXEL, VECTOR, observations

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")
BOTH = pytest.mark.parametrize("config", [VECTOR, PIXEL])


def searched(
    model: GpuModel | InferenceModel, config, simulations: int = 6, **options
) -> SearchResult:
    return search(
        model,
        model.root(observations(config, 5).numpy()),
        config=SearchConfig(num_simulations=simulations, lstm_horizon=2),
        seeds=np.arange(5, dtype=np.uint64),
        root_noise=True,
        **options,
    )


def assert_near(ours: SearchResult, expected: SearchResult) -> None:
    """The network's rounding differs, and no edge is so near a tie that it would be felt."""
    np.testing.assert_array_equal(ours.visit_counts, expected.visit_counts)
    np.testing.assert_allclose(ours.root_value, expected.root_value, rtol=1e-4, atol=1e-4)


@BOTH
def test_a_search_says_what_the_plain_model_says(device, config):
    weights = lived_in(config).inference_state_dict()
    ours, plain = GpuModel.blank(config, device=device), InferenceModel.blank(config)
    ours.load(weights)
    plain.load(weights)
    assert isinstance(ours, WholeSearch)
    assert_near(searched(ours, config), searched(plain, config))


def test_a_trace_is_that_of_the_plain_model(device):
    network = lived_in(VECTOR)
    ours, plain = (
        searched(model, VECTOR, trace=True).trace
        for model in (GpuModel(network, device=device), InferenceModel(network, device=device))
    )
    assert ours.principal_variation.tolist() == plain.principal_variation.tolist()
    np.testing.assert_allclose(ours.q, plain.q, rtol=1e-4, atol=1e-4)


@BOTH
def test_fresh_weights_reach_what_has_been_captured(device, config):
    ours, plain = GpuModel.blank(config, device=device), InferenceModel.blank(config)
    searched(ours, config)
    weights = lived_in(config).inference_state_dict()
    ours.load(weights)
    plain.load(weights)
    assert_near(searched(ours, config), searched(plain, config))


def test_weights_changed_in_the_network_arrive_by_refresh(device):
    network = lived_in(VECTOR)
    ours = GpuModel(network, device=device)
    with torch.no_grad():
        network.prediction.value.bias.add_(torch.linspace(0, 9, 201, device=device))
    expected = InferenceModel(network, device=device).root(observations(VECTOR, 5).numpy()).value
    before = ours.root(observations(VECTOR, 5).numpy()).value
    ours.refresh()
    after = ours.root(observations(VECTOR, 5).numpy()).value
    assert np.abs(before - expected).min() > 0.1
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4)


def test_a_missing_weight_is_refused_by_name(device):
    weights = lived_in(VECTOR).inference_state_dict()
    del weights["lstm.weight_hh_l0"]
    with pytest.raises(RuntimeError, match="lstm.weight_hh_l0"):
        GpuModel.blank(VECTOR, device=device).load(weights)


def test_making_a_blank_model_leaves_torchs_generator_alone(device):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    GpuModel.blank(VECTOR, device=device)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.gpu
@BOTH
def test_a_replayed_graph_says_what_the_uncaptured_run_says(config):
    network = lived_in(config)
    captured = searched(GpuModel(network), config)
    plain = searched(GpuModel(network, captured=False), config)
    for name in ("action", "visit_counts", "policy", "root_value"):
        assert getattr(captured, name).tobytes() == getattr(plain, name).tobytes(), name


@pytest.mark.gpu
def test_bf16_search_is_near_f32():
    network = lived_in(PIXEL)
    half = searched(GpuModel(network, dtype=torch.bfloat16), PIXEL, 30)
    whole = searched(GpuModel(network), PIXEL, 30)
    np.testing.assert_allclose(half.visit_probs, whole.visit_probs, atol=0.2)
    spread = np.abs(whole.root_value).max()
    np.testing.assert_allclose(half.root_value, whole.root_value, atol=0.05 * max(1.0, spread))


@pytest.mark.gpu
def test_a_compiled_step_says_what_the_plain_one_says():
    network = lived_in(PIXEL)
    assert_near(
        searched(GpuModel(network, compiled=True), PIXEL), searched(GpuModel(network), PIXEL)
    )

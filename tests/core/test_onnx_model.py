"""The network on ONNX Runtime beside the network in torch."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.onnx_graph import draw_graphs
from rllib_ez.core.onnx_model import OnnxModel
from rllib_ez.core.search import search
from rllib_ez.errors import EfficientZeroError, ObservationError, SettingError
from tests.core.test_networks import PIXEL, VECTOR, made, observations

SCALED = replace(VECTOR, observation_scale=(0.5, 2.0, -1.0))
# Wide enough for the blocked convolutions of ONNX Runtime.
WIDE = replace(PIXEL, latent_channels=32, num_blocks=2, frame_shape=(40, 24, 3))
EVERY = pytest.mark.parametrize("config", [VECTOR, SCALED, PIXEL, WIDE])


def unsettled(config, *, seed: int = 0) -> EfficientZeroModel:
    """A network whose batch norms have statistics too."""
    network = made(config, restless=True)
    rng = torch.Generator().manual_seed(seed)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3, generator=rng)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=rng)
    return network


def assert_close(got, expected):
    """1e-5 of the largest entry for what stays inside, 1e-4 for what is in reward units."""
    for name in ("latent", "memory", "prior", "value", "value_prefix"):
        if hasattr(expected, name):
            a, b = (np.asarray(getattr(side, name)) for side in (got, expected))
            share = 1e-4 if name.startswith("value") else 1e-5
            np.testing.assert_allclose(a, b, atol=share * max(1, np.abs(b).max()), err_msg=name)


@EVERY
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_root_is_what_torch_says(config, batch):
    network = unsettled(config)
    seen = observations(config, batch).numpy()
    assert_close(OnnxModel(network).root(seen), InferenceModel(network).root(seen))


@EVERY
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_step_is_what_torch_says(config, batch):
    network = unsettled(config)
    latent = network.represent(observations(config, batch)).detach()
    action, memory = torch.arange(batch) % 4, torch.randn(2, batch, config.lstm_size)
    expected = InferenceModel(network).step(latent, memory, action)
    assert_close(OnnxModel(network).step(latent, memory, action), expected)


def test_two_threads_say_the_same():
    network = unsettled(WIDE)
    seen = observations(WIDE, 4).numpy()
    assert_close(OnnxModel(network, num_threads=2).root(seen), InferenceModel(network).root(seen))


def test_a_value_is_told_in_reward_units():
    network = made(VECTOR)  # all heads are 0
    with torch.no_grad():
        network.prediction.value.bias[102] = 100.0  # bin 102 of 0..200 lies at 2 of -100..100
    # h(x) = 2: sqrt(x + 1) = r with 0.001 r**2 + r = 3.001, so r = 2.992045 and x = 7.952334
    value = OnnxModel(network).root(observations(VECTOR, 1).numpy()).value
    np.testing.assert_allclose(value, [7.952334], rtol=1e-5)


def test_an_untrained_network_favours_nothing():
    root = OnnxModel(made(VECTOR)).root(observations(VECTOR, 2).numpy())
    np.testing.assert_allclose(root.prior, np.full((2, 4), 0.25))
    np.testing.assert_allclose(root.value, [0, 0], atol=1e-5)


@EVERY
def test_loaded_weights_replace_the_old_ones_everywhere(config):
    model, other = OnnxModel(made(config)), unsettled(config, seed=1)
    model.load(other.inference_state_dict())
    expected, seen = InferenceModel(other), observations(config, 3).numpy()
    root = expected.root(seen)
    assert_close(model.root(seen), root)
    action, memory = torch.tensor([0, 3, 1]), torch.randn(2, 3, config.lstm_size)
    step = model.step(root.latent, memory, action)
    assert_close(step, expected.step(root.latent, memory, action))


@EVERY
def test_weights_are_taken_by_value(config):
    network = unsettled(config)
    model, seen = OnnxModel(network), observations(config, 2).numpy()
    before = model.root(seen)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.root(seen).latent, before.latent)


def test_refresh_takes_over_what_the_network_has_become():
    network = unsettled(VECTOR)
    model, seen = OnnxModel(network), observations(VECTOR, 2).numpy()
    with torch.no_grad():
        network.prediction.value.bias += torch.arange(201) / 50
    model.refresh()
    assert_close(model.root(seen), InferenceModel(network).root(seen))


def test_a_missing_weight_is_refused_by_name():
    weights = made(VECTOR).inference_state_dict()
    del weights["lstm.weight_hh_l0"]
    with pytest.raises(RuntimeError, match="lstm.weight_hh_l0"):
        OnnxModel(made(VECTOR)).load(weights)


def test_floats_are_no_pixels():
    with pytest.raises(ObservationError, match="must be uint8, got float64"):
        OnnxModel(made(PIXEL)).root(np.zeros((1, 2, 24, 24, 1)))


def test_numbers_of_another_width_are_taken_as_observations():
    network, seen = unsettled(VECTOR), observations(VECTOR, 2).numpy()
    model = OnnxModel(network)
    np.testing.assert_array_equal(model.root(seen.astype(np.float64)).value, model.root(seen).value)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_search_visits_the_same_actions(config, method):
    """Where two scores differ by a rounding error, either may win and the rest of a tree follows.

    So: 19 of 20 roots exactly (measured: all), every value within 1 percent of the largest.
    """
    network = unsettled(config)
    settings = SearchConfig(num_simulations=30, lstm_horizon=3, search_method=method)
    seen, seeds = observations(config, 64).numpy(), np.arange(64, dtype=np.uint64)
    results = [
        search(model, model.root(seen), config=settings, seeds=seeds, root_noise=True)
        for model in (OnnxModel(network), InferenceModel(network))
    ]
    same = (results[0].visit_counts == results[1].visit_counts).all(axis=1)
    assert same.mean() >= 0.95
    values, expected = (result.root_value for result in results)
    np.testing.assert_allclose(values, expected, atol=0.01 * np.abs(expected).max())


@EVERY
def test_outputs_have_the_shapes_and_dtypes_that_search_expects(config):
    model = OnnxModel(made(config))
    root = model.root(observations(config, 5).numpy())
    step = model.step(root.latent, torch.zeros(2, 5, config.lstm_size), torch.zeros(5).long())
    assert (root.prior.shape, root.value.shape) == ((5, 4), (5,))
    assert (step.latent.shape, step.memory.shape) == (root.latent.shape, (2, 5, 8))
    assert (step.prior.shape, step.value.shape, step.value_prefix.shape) == ((5, 4), (5,), (5,))
    assert {x.dtype for x in (step.prior, step.value, step.value_prefix)} == {np.dtype("f4")}


@pytest.mark.parametrize("opset", [16, 24])
def test_an_opset_out_of_range_is_refused(opset):
    with pytest.raises(SettingError, match=rf"opset must be in 17\.\.23, got {opset}"):
        draw_graphs(made(VECTOR), opset=opset)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_told_with_its_cure(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EfficientZeroError, match=rf"^{package} must be.*pip install 'rllib-ez\[e"):
        OnnxModel(made(VECTOR))

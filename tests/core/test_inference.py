from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.inference import InferenceModel
from tests.core.test_networks import PIXEL, VECTOR, made, observations

BOTH = pytest.mark.parametrize("config", [VECTOR, PIXEL])


@BOTH
def test_a_loaded_model_says_what_the_network_says(config):
    network = made(config, restless=True)
    model = InferenceModel.blank(config)
    model.load(network.inference_state_dict())
    seen = observations(config, 3)
    root, expected = model.root(seen.numpy()), network.root(seen)
    torch.testing.assert_close(root.latent, expected.latent)
    prior = torch.softmax(expected.policy_logits, -1).detach()
    value = network.value_support.expectation(expected.value_logits).detach()
    np.testing.assert_allclose(root.prior, prior, rtol=1e-5)
    np.testing.assert_allclose(root.value, value, rtol=1e-4, atol=1e-4)


@BOTH
def test_a_step_says_what_the_network_says(config):
    network = made(config, restless=True)
    model = InferenceModel.blank(config)
    model.load(network.state_dict())
    latent = network.represent(observations(config, 3)).detach()
    action, memory = torch.tensor([0, 3, 1]), torch.randn(2, 3, 8)
    step, expected = model.step(latent, memory, action), network.step(latent, memory, action)
    prefix = network.value_prefix_support.expectation(expected.value_prefix_logits).detach()
    torch.testing.assert_close(step.latent, expected.latent)
    torch.testing.assert_close(step.memory, expected.memory)
    np.testing.assert_allclose(step.value_prefix, prefix, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(step.prior.sum(axis=1), 1, rtol=1e-5)


def test_weights_are_taken_by_value():
    weights = made(VECTOR, restless=True).inference_state_dict()
    model = InferenceModel.blank(VECTOR)
    model.load(weights)
    seen = observations(VECTOR, 2).numpy()
    before = model.root(seen).value
    for tensor in weights.values():
        tensor.zero_()
    np.testing.assert_array_equal(model.root(seen).value, before)


def test_acting_leaves_the_running_statistics_alone():
    model = InferenceModel.blank(PIXEL)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    model.root(observations(PIXEL, 4).numpy())
    after = model.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_missing_weight_is_refused_by_name():
    weights = made(VECTOR).inference_state_dict()
    del weights["lstm.weight_hh_l0"]
    with pytest.raises(RuntimeError, match="lstm.weight_hh_l0"):
        InferenceModel.blank(VECTOR).load(weights)


def test_an_unknown_weight_is_refused_by_name():
    weights = made(VECTOR).inference_state_dict() | {"dream": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="dream"):
        InferenceModel.blank(VECTOR).load(weights)


def test_a_weight_of_another_shape_is_refused():
    weights = made(VECTOR).inference_state_dict()
    weights["prediction.policy.bias"] = torch.zeros(7)
    with pytest.raises(RuntimeError, match="prediction.policy.bias"):
        InferenceModel.blank(VECTOR).load(weights)


def test_making_a_blank_model_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    InferenceModel.blank(VECTOR)
    assert torch.equal(torch.rand(1), expected)

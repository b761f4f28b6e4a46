"""The folded network beside the network that it was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rllib_ez.core.gpu.folded import FoldedNetwork
from rllib_ez.core.inference import InferenceModel
from tests.core.test_networks import PIXEL, VECTOR, made, observations

WIDE = replace(PIXEL, latent_channels=16, num_blocks=2, frame_shape=(40, 24, 3), downsampling=8)
ONE_HOT = replace(WIDE, action_encoding="one_hot")
EVERY = pytest.mark.parametrize("config", [VECTOR, PIXEL, WIDE, ONE_HOT])


def lived_in(config):
    """A network whose batch norms have seen something."""
    network = made(config, restless=True)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


def answers(network, config, device, **options) -> dict[str, np.ndarray]:
    """What the folded form says of three observations and of a step from there."""
    folded = FoldedNetwork(network.to(device), device=device, **options)
    with torch.no_grad():
        latent, prior, value = folded.root(observations(config, 3))
        memory = torch.linspace(-1, 1, 3 * 16).view(3, 16).to(device, folded.dtype)
        step = folded.step(latent, memory, torch.tensor([0, 3, 1], device=device))
    said = {"root_prior": prior, "root_value": value, **step._asdict()}
    shape = network.trunk.latent_shape
    for name, rows in (("root_latent", latent), ("latent", step.latent)):
        said[name] = rows if len(shape) == 1 else rows.view(3, *shape[1:], shape[0])
    return {name: tensor.float().cpu().numpy() for name, tensor in said.items()}


def expected_answers(network, config) -> dict[str, np.ndarray]:
    """The same from `InferenceModel` on the CPU."""
    model = InferenceModel(network)
    root = model.root(observations(config, 3).numpy())
    rows = torch.linspace(-1, 1, 3 * 16).view(3, 16)
    memory = torch.stack((rows[:, :8], rows[:, 8:]))
    step = model.step(root.latent, memory, torch.tensor([0, 3, 1]))
    said = {"root_prior": root.prior, "root_value": root.value, "prior": step.prior}
    said |= {"value": step.value, "value_prefix": step.value_prefix}
    said["memory"] = torch.cat((step.memory[0], step.memory[1]), dim=1).numpy()
    for name, latent in (("root_latent", root.latent), ("latent", step.latent)):
        said[name] = latent.numpy() if latent.dim() == 2 else latent.permute(0, 2, 3, 1).numpy()
    return said


@EVERY
def test_folded_says_what_the_network_says(device, config):
    network = lived_in(config)
    expected = expected_answers(network, config)
    found = answers(network, config, device)
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-4, atol=1e-4, err_msg=name)


def test_bf16_is_near_f32(device):
    """8 bits of mantissa through a dozen layers: 3 % of the largest entry."""
    network = lived_in(PIXEL)
    expected = expected_answers(network, PIXEL)
    found = answers(network, PIXEL, device, dtype=torch.bfloat16)
    for name, numbers in expected.items():
        near = 0.03 * max(1.0, float(np.abs(numbers).max()))
        np.testing.assert_allclose(found[name], numbers, atol=near, err_msg=name)


def test_bf16_leaves_heads_in_f32(device):
    folded = FoldedNetwork(made(PIXEL).to(device), device=device, dtype=torch.bfloat16)
    kinds = {name: p.dtype for name, p in folded.model.named_parameters()}
    assert {kinds[n] for n in kinds if n.startswith("trunk.")} == {torch.bfloat16}
    heads = ("prediction.policy.", "prediction.value.", "prefix_")
    assert {kinds[n] for n in kinds if n.startswith(heads)} == {torch.float32}


def test_bf16_is_refused_for_vectors(device):
    with pytest.raises(ValueError, match="bfloat16 for network 'vector'"):
        FoldedNetwork(made(VECTOR), device=device, dtype=torch.bfloat16)


@pytest.mark.parametrize("config", [PIXEL, WIDE])
def test_no_batch_norm_is_left_but_the_one_after_the_lstm(device, config):
    folded = FoldedNetwork(made(config), device=device)
    kinds = nn.BatchNorm1d | nn.BatchNorm2d
    left = [name for name, module in folded.model.named_modules() if isinstance(module, kinds)]
    assert left == ["prefix_norm"]


def tensors_of(folded: FoldedNetwork) -> dict[str, torch.Tensor]:
    own = {"step_weight": folded.step_weight, "action_rows": folded.action_rows}
    return folded.model.state_dict() | own


@EVERY
def test_fresh_weights_come_to_the_same_addresses(device, config):
    network = made(config).to(device)
    folded = FoldedNetwork(network, device=device)
    before = {name: tensor.data_ptr() for name, tensor in tensors_of(folded).items()}
    network.load_state_dict(lived_in(config).state_dict())
    folded.refresh()
    fresh = tensors_of(FoldedNetwork(network, device=device))
    for name, tensor in tensors_of(folded).items():
        assert tensor.data_ptr() == before[name]
        assert torch.equal(tensor, fresh[name])


def test_the_source_is_left_as_it_is(device):
    network = lived_in(PIXEL).to(device)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    FoldedNetwork(network, device=device, dtype=torch.bfloat16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_pixels_stay_channels_last_through_a_step(device):
    """Else every convolution would turn its input around."""
    folded = FoldedNetwork(made(PIXEL, restless=True).to(device), device=device)
    seen = []
    last = torch.channels_last

    def note(module, inputs, output) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=last))
        seen.append(output.is_contiguous(memory_format=last))

    for module in folded.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        latent, _, _ = folded.root(observations(PIXEL, 2))
        seen.clear()
        folded.step(
            latent, torch.zeros(2, 16, device=device), torch.zeros_like(latent[:, 0]).long()
        )
    assert len(seen) >= 12
    assert all(seen)
    weights = [p for p in folded.model.parameters() if p.dim() == 4] + [folded.step_weight]
    assert all(weight.is_contiguous(memory_format=last) for weight in weights)

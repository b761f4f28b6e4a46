from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_ez.core.compute import (
    autocast,
    compilable,
    denormals_as_zero,
    has_fast_bfloat16,
    prepare_network,
)
from rllib_ez.core.config import ComputeConfig, LossConfig
from rllib_ez.core.losses import PARTS, losses
from rllib_ez.core.networks import EfficientZeroModel
from tests.core.test_losses import VECTOR, random_batch
from tests.core.test_networks import PIXEL, made

PLAIN = ComputeConfig()


def learned(model: EfficientZeroModel, config: ComputeConfig, **batch: int) -> dict[str, Tensor]:
    """Losses of one batch by a copy of the model, with gradients, in training mode."""
    model = deepcopy(model).train()
    prepare_network(model, config)
    with autocast(config, torch.device("cpu")):
        out = losses(
            model,
            random_batch(model.config, **batch),
            config=LossConfig(augmentation=False),
            lstm_horizon=3,
            rng=np.random.default_rng(0),
        )
    out["total"].backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {name: value.detach() for name, value in out.items()} | {"gradient": gradient}


def test_channels_last_changes_the_memory_format_and_hardly_a_number():
    model = made(PIXEL)
    other = deepcopy(model)
    prepare_network(other, ComputeConfig(channels_last=True))
    assert other.trunk.step_conv.weight.is_contiguous(memory_format=torch.channels_last)
    plain, ours = learned(model, PLAIN), learned(model, ComputeConfig(channels_last=True))
    for name in ("total", "root_value", *PARTS):
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [PIXEL, VECTOR])
def test_losses_in_bfloat16_are_near_and_stay_float32(config):
    model = made(config)
    plain = learned(model, PLAIN, batch=16)
    ours = learned(model, ComputeConfig(learner_precision="bfloat16"), batch=16)
    assert all(ours[name].dtype == torch.float32 for name in ours)
    assert 0 < abs(ours["total"] - plain["total"]) < 0.02 * abs(plain["total"])
    assert torch.cosine_similarity(ours["gradient"], plain["gradient"], dim=0) > 0.9


@pytest.mark.parametrize("has_amx", [True, False])
def test_auto_takes_bfloat16_where_the_processor_has_units_for_it(monkeypatch, has_amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    with autocast(ComputeConfig(learner_precision="auto"), torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if has_amx else torch.float32)


def test_auto_takes_float32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not has_fast_bfloat16(torch.device("cpu"))
    assert not has_fast_bfloat16(torch.device("meta"))


def test_the_mean_of_the_bins_is_taken_in_float32():
    """A sum of 0.3 times bins in 8 bits would be off by a thousandth and more."""
    support = made(VECTOR).value_support
    logits = support.two_hot(torch.tensor([1.234, -7.5])).log().clamp(min=-80)
    with autocast(ComputeConfig(learner_precision="bfloat16"), torch.device("cpu")):
        value = support.expectation(logits)
    torch.testing.assert_close(value, torch.tensor([1.234, -7.5]), rtol=1e-5, atol=1e-5)


def test_everything_with_weights_but_the_lstm_and_single_layers_is_compiled():
    model = made(PIXEL)
    inside = {id(p) for part in compilable(model) for p in part.parameters()}
    left = {name.split(".")[0] for name, p in model.named_parameters() if id(p) not in inside}
    assert left == {"trunk", "lstm", "prefix_norm", "prefix_output"}
    left = {name for name, p in model.trunk.named_parameters() if id(p) not in inside}
    assert {name.split(".")[0] for name in left} == {"step_conv", "step_norm"}


@pytest.mark.slow
def test_a_compiled_network_learns_as_a_plain_one():
    model = made(VECTOR)
    names = list(model.state_dict())
    plain, ours = learned(model, PLAIN), learned(model, ComputeConfig(compile_network=True))
    torch.testing.assert_close(ours["gradient"], plain["gradient"], rtol=1e-3, atol=1e-4)
    prepare_network(model, ComputeConfig(compile_network=True))
    assert list(model.state_dict()) == names


def test_denormals_are_zero_within_and_themselves_again_after():
    tiny = torch.tensor([1e-39])
    with denormals_as_zero():
        assert (tiny * 1.0).item() == 0.0
    assert (tiny * 1.0).item() == pytest.approx(1e-39, rel=1e-5)

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.precise_norm import acting_norms, renew_statistics
from tests.core.test_losses import VECTOR, K, random_batch
from tests.core.test_networks import PIXEL, made

BATCHES = [random_batch(PIXEL, batch=8, seed=seed) for seed in range(3)]


def after_noise(model: EfficientZeroModel) -> EfficientZeroModel:
    """With running statistics that say nothing."""
    for norm in acting_norms(model):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return model


def twin(model: EfficientZeroModel) -> dict[str, tuple[Tensor, Tensor]]:
    """Slow and obvious: every norm's inputs are kept, one call after the other."""
    model = deepcopy(model).train()
    kept: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: kept.setdefault(name, []).append(inputs[0].detach())
            )
    L = PIXEL.frame_stack
    for batch in BATCHES:
        latents = [model.represent(batch["frames"][:, :L])]
        for k in range(K):
            latents.append(model.transition(latents[-1], batch["action"][:, k]))
        stacked = torch.stack(latents, 1)
        for start in range(0, K, 3):  # the horizon below
            model.accumulate(stacked[:, 1:][:, start : start + 3], None)
        model.predict(stacked.flatten(0, 1))
    statistics = {}
    for name, calls in kept.items():
        flat = [x.transpose(0, 1).flatten(1) for x in calls]  # [C, everything else]
        mean = torch.stack([x.mean(1) for x in flat]).mean(0)
        variance = torch.stack([x.var(1) for x in flat]).mean(0)
        statistics[name] = (mean, variance)
    return statistics


def test_statistics_are_plain_means_over_the_batches():
    model = after_noise(made(PIXEL, restless=True))
    expected = twin(model)
    renew_statistics(model, BATCHES, lstm_horizon=3)
    norms = {name: module for name, module in model.named_modules() if name in expected}
    assert set(norms.values()) == set(acting_norms(model))
    assert len(expected) > 15
    for name, (mean, variance) in expected.items():
        torch.testing.assert_close(norms[name].running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norms[name].running_var, variance, rtol=1e-4, atol=1e-5)


def test_acting_says_then_what_learning_would_and_before_it_does_not():
    model = after_noise(made(PIXEL, restless=True))
    batch = random_batch(PIXEL, batch=64)
    observation = batch["frames"][:, : PIXEL.frame_stack]

    def apart() -> float:
        with torch.no_grad():
            value = model.eval().root(observation).value_logits
            learned = deepcopy(model).train().root(observation).value_logits
        return float((value - learned).norm() / learned.norm())

    before = apart()
    renew_statistics(model, [batch], lstm_horizon=5)
    assert apart() < before / 3


def test_nothing_else_changes_and_the_same_batches_give_the_same_bits():
    model = after_noise(made(PIXEL, restless=True))
    before = deepcopy(model.state_dict())
    renew_statistics(model, BATCHES, lstm_horizon=3)
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.endswith(("running_mean", "running_var", "_tracked")) for name in changed)
    assert not any(name.startswith(("projector.", "predictor.")) for name in changed)
    assert model.training
    assert all(norm.momentum == 0.1 for norm in acting_norms(model))
    once = deepcopy(model.state_dict())
    renew_statistics(model, BATCHES, lstm_horizon=3)
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())


def test_without_batches_or_batch_norm_all_stays_as_it_is():
    for model, batches in (
        (after_noise(made(PIXEL)), []),
        (made(VECTOR), [random_batch(VECTOR)]),
    ):
        before = deepcopy(model.state_dict())
        renew_statistics(model, batches, lstm_horizon=3)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])


def test_momentum_is_put_back_when_a_batch_is_of_another_shape():
    model = made(PIXEL)
    bad = {**BATCHES[0], "frames": BATCHES[0]["frames"][..., :1].repeat(1, 1, 1, 1, 3)}
    with pytest.raises(RuntimeError):
        renew_statistics(model, [bad], lstm_horizon=3)
    assert all(norm.momentum == 0.1 for norm in acting_norms(model))

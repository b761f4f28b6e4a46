from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_ez.core.config import LossConfig
from rllib_ez.core.consistency import FORMS, consistency_loss, info_nce, negative_cosine
from rllib_ez.core.losses import losses
from rllib_ez.errors import SettingError
from tests.core.test_losses import VECTOR, K, encoder_gradient, random_batch
from tests.core.test_networks import made

BOTH = ["simsiam", "infonce"]


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.detach(), b.detach()
    return float(sum(a * b)) / (float(sum(a * a)) * float(sum(b * b))) ** 0.5


def slow_info_nce(predicted: Tensor, target: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """One sample, one step, one negative at a time."""
    loss = torch.zeros_like(mask)
    for b, k in mask.nonzero().tolist():
        there = [j for j in range(len(mask)) if mask[j, k]]
        scores = {j: cosine(predicted[b, k], target[j, k]) / temperature for j in there}
        loss[b, k] = math.log(sum(math.exp(s) for s in scores.values())) - scores[b]
    return loss


def pairs(*, batch: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Projections [B, K, 5] of both sides, and a mask [B, K] with holes and a step all masked."""
    rng = torch.Generator().manual_seed(seed)
    predicted, target = torch.randn(2, batch, K, 5, generator=rng).unbind()
    mask = (torch.rand(batch, K, generator=rng) < 0.7).float()
    mask[:, -1] = 0
    return predicted.requires_grad_(), target, mask


def from_model(form: str, imagined: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the loss in the encoder, and in the predictor's first layer."""
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    config, mask = LossConfig(consistency_loss=form), torch.ones(5, K)
    loss = consistency_loss(model, imagined, batch["frames"][:, 1:], mask=mask, config=config)
    encoder = encoder_gradient(model, loss.sum())
    return encoder, model.predictor[0].weight.grad


def test_infonce_of_two_samples_as_computed_by_hand():
    """Cosines 1 and 0.6 for the first, 0 and 0.8 for the second, over a temperature of 1/2."""
    predicted = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    target = torch.tensor([[[3.0, 0.0]], [[3.0, 4.0]]])
    config = LossConfig(infonce_temperature=0.5)
    loss = info_nce(predicted, target, torch.ones(2, 1), config=config)
    # log(e^2 + e^1.2) - 2 and log(e^0 + e^1.6) - 1.6
    torch.testing.assert_close(loss, torch.tensor([[0.371101], [0.183901]]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_infonce_agrees_with_the_slow_twin(seed: int):
    predicted, target, mask = pairs(seed=seed)
    loss = info_nce(predicted, target, mask, config=LossConfig(infonce_temperature=0.3))
    expected = slow_info_nce(predicted, target, mask, 0.3)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_simsiam_is_minus_the_cosine_where_it_counts():
    predicted, target, mask = pairs()
    loss = negative_cosine(predicted, target, mask, config=LossConfig())
    expected = [
        [-cosine(p[k], t[k]) for k in range(K)] for p, t in zip(predicted, target, strict=True)
    ]
    torch.testing.assert_close(loss, torch.tensor(expected) * mask)


def test_projections_that_look_all_the_same_cost_the_logarithm_of_their_number():
    same = torch.ones(7, 1, 5)
    loss = info_nce(same, same, torch.ones(7, 1), config=LossConfig())
    torch.testing.assert_close(loss, torch.full((7, 1), math.log(7)))


def test_a_sample_alone_has_nothing_to_be_told_from():
    predicted, target, mask = pairs(batch=1)
    assert (info_nce(predicted, target, mask, config=LossConfig()) == 0).all()


@pytest.mark.parametrize("form", BOTH)
def test_masked_samples_are_neither_positives_nor_negatives(form: str):
    """Loss and gradient of all others stay to the bit; masked ones have none."""
    seen = []
    for change in (0.0, 7.0):
        predicted, target, mask = pairs()
        hidden = change * (1 - mask[..., None]) * torch.arange(5)
        loss = FORMS[form](predicted + hidden, target - hidden, mask, config=LossConfig())
        (gradient,) = torch.autograd.grad(loss.sum(), predicted)
        seen.append((loss.detach(), gradient))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert (seen[0][0][mask == 0] == 0).all()
    assert (seen[0][1][mask == 0] == 0).all()


def test_infonce_of_masked_samples_is_finite_in_value_and_gradient():
    predicted, target, mask = pairs()
    loss = info_nce(predicted, target, 0 * mask, config=LossConfig(infonce_temperature=0.01))
    (gradient,) = torch.autograd.grad(loss.sum(), predicted)
    assert (loss == 0).all()
    assert (gradient == 0).all()


def test_infonce_under_autocast_is_that_of_float32():
    predicted, target, mask = pairs()
    plain = info_nce(predicted, target, mask, config=LossConfig())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = info_nce(predicted, target, mask, config=LossConfig())
    assert torch.equal(mixed, plain)


@pytest.mark.parametrize("form", BOTH)
def test_no_gradient_flows_into_the_observed_side(form: str):
    encoder, predictor = from_model(form, torch.randn(5, K, 8))
    assert (encoder == 0).all()
    assert predictor.abs().max() > 0


@pytest.mark.parametrize("form", BOTH)
def test_consistency_teaches_the_imagined_side(form: str):
    imagined = torch.randn(5, K, 8, requires_grad=True)
    from_model(form, imagined)
    assert imagined.grad.abs().amax(dim=(0, 2)).min() > 0  # at every step


def test_a_step_is_compared_with_the_observation_seen_there():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    later = batch["frames"][:, 1:]
    seen = torch.stack([model.represent(later[:, k : k + 2]) for k in range(K)], dim=1)
    mask, config = torch.ones(5, K), LossConfig(consistency_loss="infonce")
    loss = consistency_loss(model, seen, later, mask=mask, config=config)
    target = model.project(seen.flatten(0, 1))
    predicted = model.predictor(target)
    expected = slow_info_nce(predicted.view(5, K, -1), target.view(5, K, -1), mask, 0.1)
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-4)


def test_the_setting_chooses_the_form_in_training():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    parts = {}
    for form in BOTH:
        config, rng = LossConfig(consistency_loss=form), np.random.default_rng(0)
        parts[form] = losses(model, batch, config=config, lstm_horizon=3, rng=rng)
    assert not torch.equal(parts["simsiam"]["consistency"], parts["infonce"]["consistency"])
    assert torch.equal(parts["simsiam"]["value"], parts["infonce"]["value"])
    assert (parts["infonce"]["consistency"] >= 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_chosen(form: str):
    assert LossConfig(consistency_loss=form).consistency_loss == form


def test_an_unknown_form_is_refused():
    with pytest.raises(SettingError, match="consistency_loss must be 'simsiam' or 'infonce', got"):
        LossConfig(consistency_loss="byol")


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(SettingError, match="infonce_temperature must be > 0, got 0.0"):
        LossConfig(infonce_temperature=0.0)

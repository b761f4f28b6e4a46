from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_ez.core.config import LossConfig, ModelConfig, OptimizerConfig
from rllib_ez.core.losses import (
    PARTS,
    cross_entropy,
    losses,
    scale_gradient,
    unroll,
)
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.trainer import Optimizer, make_optimizer
from tests.core.test_networks import PIXEL, made

VECTOR = ModelConfig(
    frame_shape=(3,),
    frame_stack=2,
    num_actions=4,
    hidden_size=8,
    lstm_size=4,
    projection_size=8,
    value_range=10.0,
    value_bins=21,
    value_prefix_range=5.0,
    value_prefix_bins=11,
)
K = 4


def random_batch(config: ModelConfig, *, batch: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """Targets of every kind, masks with holes."""
    rng = np.random.default_rng(seed)
    shape = (batch, config.frame_stack + K, *config.frame_shape)
    frames = rng.standard_normal(shape).astype(np.float32)
    if config.network == "pixel":
        frames = rng.integers(256, size=shape, dtype=np.uint8)
    arrays = {
        "frames": frames,
        "action": rng.integers(config.num_actions, size=(batch, K)),
        "value_prefix": rng.normal(0, 3, (batch, K)),
        "value": rng.normal(0, 9, (batch, K + 1)),
        "policy": rng.dirichlet(np.ones(config.num_actions), (batch, K + 1)),
        "value_mask": rng.random((batch, K + 1)) < 0.7,
        "policy_mask": rng.random((batch, K + 1)) < 0.7,
        "prefix_mask": rng.random((batch, K)) < 0.7,
        "consistency_mask": rng.random((batch, K)) < 0.7,
        "is_weight": rng.random(batch),
    }
    keep = ("frames", "action")
    return {
        name: torch.from_numpy(array if name in keep else array.astype(np.float32))
        for name, array in arrays.items()
    }


def computed(model: EfficientZeroModel, batch: dict[str, Tensor], **settings) -> dict[str, Tensor]:
    lstm_horizon = settings.pop("lstm_horizon", 3)
    rng = settings.pop("rng", np.random.default_rng(0))
    return losses(model, batch, config=LossConfig(**settings), lstm_horizon=lstm_horizon, rng=rng)


def entropy_from_code(logits: Tensor, code: Tensor) -> float:
    scores = logits.detach().tolist()
    total = sum(math.exp(z) for z in scores)
    pairs = zip(scores, code.tolist(), strict=True)
    return sum(-c * math.log(math.exp(z) / total) for z, c in pairs)


@torch.no_grad()
def twin(model: EfficientZeroModel, batch: dict[str, Tensor], lstm_horizon: int) -> list[dict]:
    """The parts of each sample, one network call and one term at a time (evaluation mode)."""
    rows = []
    for b in range(len(batch["action"])):
        frames, row = batch["frames"][b : b + 1], dict.fromkeys(PARTS, 0.0)
        stack = frames.shape[1] - K
        root = model.root(frames[:, :stack])
        latent, memory = root.latent, torch.zeros(2, 1, model.config.lstm_size)
        outputs = [(root.policy_logits, root.value_logits)]
        for k in range(K):
            if k % lstm_horizon == 0:
                memory = torch.zeros_like(memory)
            step = model.step(latent, memory, batch["action"][b : b + 1, k])
            latent, memory = step.latent, step.memory
            outputs.append((step.policy_logits, step.value_logits))
            code = model.value_prefix_support.two_hot(batch["value_prefix"][b, k])
            term = entropy_from_code(step.value_prefix_logits[0], code)
            row["value_prefix"] += float(batch["prefix_mask"][b, k]) * term / K
            predicted = model.predictor(model.project(latent))[0]
            target = model.project(model.represent(frames[:, k + 1 : k + 1 + stack]))[0]
            cosine = predicted @ target / (predicted.norm() * target.norm())
            row["consistency"] -= float(batch["consistency_mask"][b, k]) * float(cosine) / K
        for k, (policy_logits, value_logits) in enumerate(outputs):
            share = 1 if k == 0 else 1 / K
            term = entropy_from_code(policy_logits[0], batch["policy"][b, k])
            row["policy"] += share * float(batch["policy_mask"][b, k]) * term
            code = model.value_support.two_hot(batch["value"][b, k])
            term = entropy_from_code(value_logits[0], code)
            row["value"] += share * float(batch["value_mask"][b, k]) * term
        rows.append(row)
    return rows


@pytest.mark.parametrize("lstm_horizon", [1, 3, 4, 9])
def test_losses_agree_with_the_slow_twin(lstm_horizon: int):
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    out = computed(model, batch, lstm_horizon=lstm_horizon)
    rows = twin(model, batch, lstm_horizon)
    for name in PARTS:
        expected = [row[name] for row in rows]
        np.testing.assert_allclose(out[name].detach(), expected, rtol=1e-3, atol=1e-4)


def test_losses_of_pixels_agree_with_the_slow_twin():
    model, batch = made(PIXEL, restless=True), random_batch(PIXEL, batch=2)
    out = computed(model, batch, augmentation=False)
    for name in PARTS:
        expected = [row[name] for row in twin(model, batch, 3)]
        np.testing.assert_allclose(out[name].detach(), expected, rtol=1e-3, atol=1e-4)


def test_total_weighs_parts_and_samples():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    weights = dict(zip(PARTS, (0.5, 1.5, 0.125, 3.0), strict=True))
    out = computed(model, batch, **{f"{name}_weight": w for name, w in weights.items()})
    by_sample = sum(weights[name] * out[name] for name in PARTS)
    torch.testing.assert_close(out["total"], (batch["is_weight"] * by_sample).mean())


def test_cross_entropy_of_a_certain_target_is_minus_its_log_probability():
    logits = torch.tensor([[0.0, np.log(3.0)]])
    loss = cross_entropy(logits, torch.tensor([[0.0, 1.0]]))
    assert loss.item() == pytest.approx(-np.log(0.75))


@pytest.mark.parametrize(
    ("mask", "part"),
    [
        ("value_mask", "value"),
        ("policy_mask", "policy"),
        ("prefix_mask", "value_prefix"),
        ("consistency_mask", "consistency"),
    ],
)
def test_a_masked_part_is_zero(mask: str, part: str):
    batch = random_batch(VECTOR)
    batch[mask] = torch.zeros_like(batch[mask])
    out = computed(made(VECTOR, restless=True), batch)
    assert (out[part] == 0).all()
    assert all((out[name] != 0).any() for name in PARTS if name != part)


@pytest.mark.parametrize(
    ("field", "mask"),
    [("value", "value_mask"), ("policy", "policy_mask"), ("value_prefix", "prefix_mask")],
)
def test_what_a_masked_target_says_does_not_matter(field: str, mask: str):
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    before = computed(model, batch)["total"]
    hidden = batch[mask] == 0
    batch[field] = torch.where(
        hidden[..., None] if field == "policy" else hidden, 7.0, batch[field]
    )
    assert torch.equal(computed(model, batch)["total"], before)


def encoder_gradient(model: EfficientZeroModel, loss: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss.backward()
    grads = [p.grad for p in model.trunk.encoder.parameters() if p.grad is not None]
    return torch.cat([g.flatten() for g in grads]) if grads else torch.zeros(1)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_gradient_is_scaled_once_for_each_step_it_passes(steps: int):
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    observation, action = batch["frames"][:, :2], batch["action"][:, :steps]
    grads = {}
    for scale in (1.0, 0.5):
        out = unroll(model, observation, action, lstm_horizon=3, gradient_scale=scale)
        grads[scale] = encoder_gradient(model, out.value_logits[:, -1].square().sum())
    torch.testing.assert_close(grads[0.5], grads[1.0] * 0.5**steps, rtol=1e-4, atol=1e-6)
    assert grads[1.0].abs().max() > 1e-3


def test_gradient_of_the_roots_own_heads_is_not_scaled():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    grads = []
    for scale in (1.0, 0.5):
        out = unroll(
            model, batch["frames"][:, :2], batch["action"], lstm_horizon=3, gradient_scale=scale
        )
        grads.append(encoder_gradient(model, out.value_logits[:, 0].square().sum()))
    torch.testing.assert_close(grads[0], grads[1])


def test_scaling_the_gradient_keeps_the_value():
    x = torch.tensor([1.0, -2.5], requires_grad=True)
    y = scale_gradient(x, 0.5)
    y.sum().backward()
    assert y.tolist() == [1.0, -2.5]
    assert x.grad.tolist() == [0.5, 0.5]


def test_without_consistency_nothing_of_it_is_computed():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    out = computed(model, batch, consistency_weight=0.0)
    assert (out["consistency"] == 0).all()
    out["total"].backward()
    assert model.projector[0].weight.grad is None


def test_root_value_is_that_of_the_first_observation_and_carries_no_gradient():
    model, batch = made(VECTOR, restless=True), random_batch(VECTOR)
    out = computed(model, batch)
    logits = model.root(batch["frames"][:, :2]).value_logits
    torch.testing.assert_close(out["root_value"], model.value_support.expectation(logits).detach())
    assert not out["root_value"].requires_grad


def test_vectors_are_not_augmented():
    rng = np.random.default_rng(0)
    computed(made(VECTOR), random_batch(VECTOR), rng=rng)
    assert rng.random() == np.random.default_rng(0).random()


@pytest.fixture
def draws(monkeypatch) -> list[tuple[int, float]]:
    """Frames per sample, and a random number, of each call of `augment`."""
    drawn = []

    def spy(frames: Tensor, *, config: LossConfig, rng: np.random.Generator) -> Tensor:
        drawn.append((frames.shape[1], rng.random()))
        return frames.float()

    monkeypatch.setattr("rllib_ez.core.losses.augment", spy)
    return drawn


@pytest.mark.parametrize("consistency_weight", [0.0, 2.0])
def test_pixels_are_augmented_with_or_without_consistency(draws, consistency_weight: float):
    """The published code drops both together: its ablation of one is an ablation of two."""
    batch = random_batch(PIXEL, batch=2)
    computed(made(PIXEL), batch, consistency_weight=consistency_weight)
    assert draws[0][0] == 2  # the root's stack


def test_target_observations_are_augmented_by_a_draw_of_their_own(draws):
    computed(made(PIXEL), random_batch(PIXEL, batch=2))
    assert [frames for frames, _ in draws] == [2, 2 + K - 1]
    assert draws[0][1] != draws[1][1]


def test_augmentation_can_be_turned_off(draws):
    computed(made(PIXEL), random_batch(PIXEL, batch=2), augmentation=False)
    assert draws == []


@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_learning_one_batch_by_heart_lowers_each_part(config: ModelConfig):
    torch.manual_seed(0)
    model = EfficientZeroModel(replace(config, num_actions=4)).train()
    batch = random_batch(config, batch=8)
    settings = OptimizerConfig(learning_rate=1e-2)
    optimizer = Optimizer(make_optimizer(model.parameters(), settings), settings)
    history = []
    for update in range(25):
        out = computed(model, batch, augmentation=False)
        optimizer.step(out["total"], update=update)
        history.append({name: out[name].mean().item() for name in PARTS})
    for name in PARTS:
        assert history[-1][name] < history[0][name] - 0.05, name

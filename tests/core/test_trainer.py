from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rllib_ez.core.config import OptimizerConfig
from rllib_ez.core.losses import PARTS
from rllib_ez.core.trainer import (
    apply_gradients,
    learning_rate_at,
    make_optimizer,
    step_result,
    to_tensors,
)
from rllib_ez.core.types import TrainBatch

PAPER = OptimizerConfig(
    optimizer_name="sgd", learning_rate=0.2, warmup_updates=1000, decay_at_update=100_000
)


def plain_sgd(**settings) -> OptimizerConfig:
    return OptimizerConfig(
        **{"optimizer_name": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, **settings}
    )


@pytest.mark.parametrize(
    ("update", "rate"),
    [(0, 0.0002), (499, 0.1), (999, 0.2), (50_000, 0.2), (99_999, 0.2), (100_000, 0.02)],
)
def test_learning_rate_warms_up_stays_and_drops(update: int, rate: float):
    assert learning_rate_at(update, PAPER) == pytest.approx(rate)


@pytest.mark.parametrize("update", [0, 10**7])
def test_learning_rate_without_a_schedule_is_constant(update: int):
    assert learning_rate_at(update, OptimizerConfig(learning_rate=1e-3)) == 1e-3


def weights_after(loss_of, config: OptimizerConfig, *, updates: int = 1) -> torch.Tensor:
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    optimizer = make_optimizer([parameter], config)
    for update in range(updates):
        apply_gradients(loss_of(parameter), optimizer, update=update, config=config)
    return parameter.detach()


def test_a_step_goes_against_the_gradient():
    """Gradient (1, 1): 3 - 0.5 and -4 - 0.5."""
    after = weights_after(lambda w: w.sum(), plain_sgd(learning_rate=0.5))
    assert after.tolist() == [2.5, -4.5]


def test_gradients_are_clipped_by_their_global_norm():
    """Gradient (6, -8) has norm 10, clipped to 1 it is (0.6, -0.8)."""
    after = weights_after(lambda w: w.square().sum(), plain_sgd(max_grad_norm=1.0))
    np.testing.assert_allclose(after, [2.4, -3.2], rtol=1e-5)


def test_the_norm_reported_is_the_one_before_clipping():
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    config = plain_sgd(max_grad_norm=1.0)
    optimizer = make_optimizer([parameter], config)
    norm, rate = apply_gradients(parameter.square().sum(), optimizer, update=0, config=config)
    assert (norm, rate) == (10.0, 1.0)


def test_gradients_do_not_pile_up_over_updates():
    """Momentum 0.9: steps of 1 and 1.9."""
    after = weights_after(lambda w: w.sum(), plain_sgd(), updates=2)
    np.testing.assert_allclose(after, [3 - 2.9, -4 - 2.9], rtol=1e-5)


def test_the_rate_of_this_very_update_is_used():
    config = plain_sgd(warmup_updates=4)
    after = weights_after(lambda w: w.sum(), config)
    assert after.tolist() == [2.75, -4.25]


def test_weight_decay_pulls_every_parameter():
    """Both optimisers: with no gradient of the loss, decay alone moves the weights."""
    for name in ("sgd", "adam"):
        config = OptimizerConfig(optimizer_name=name, learning_rate=0.1, weight_decay=0.5)
        after = weights_after(lambda w: 0 * w.sum(), config)
        assert (after.abs() < torch.tensor([3.0, 4.0])).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused_and_changes_nothing(bad: float):
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    config = OptimizerConfig()
    optimizer = make_optimizer([parameter], config)
    with pytest.raises(FloatingPointError, match="loss must be finite, got .* at update 7"):
        apply_gradients(parameter.sum() * bad, optimizer, update=7, config=config)
    assert parameter.tolist() == [3.0, -4.0]
    assert not optimizer.state


def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing():
    """sqrt has an infinite slope at 0, where it is 0 itself."""
    parameter = nn.Parameter(torch.tensor([0.0, 1.0]))
    config = OptimizerConfig()
    optimizer = make_optimizer([parameter], config)
    with pytest.raises(FloatingPointError, match="gradient must be finite, got .* at update 3"):
        apply_gradients(parameter.sqrt().sum(), optimizer, update=3, config=config)
    assert parameter.tolist() == [0.0, 1.0]
    assert not optimizer.state


def small_batch() -> TrainBatch:
    ones = np.ones((2, 2), np.float32)
    return TrainBatch(
        frames=np.zeros((2, 2, 1), np.float32),
        action=np.zeros((2, 1), np.int64),
        value_prefix=ones[:, :1],
        value=np.array([[1.0, 9.0], [-2.0, 9.0]], np.float32),
        policy=np.ones((2, 2, 1), np.float32),
        value_mask=ones,
        policy_mask=ones,
        prefix_mask=ones[:, :1],
        consistency_mask=ones[:, :1],
        is_weight=ones[:, 0],
        slot=np.array([4, 5]),
        generation=np.array([1, 2]),
    )


def test_priorities_are_the_error_of_the_root_value():
    out = {name: torch.tensor([1.0, 3.0]) for name in PARTS}
    out |= {"total": torch.tensor(5.0), "root_value": torch.tensor([1.5, 0.0])}
    result = step_result(out, small_batch(), grad_norm=2.0, learning_rate=0.1)
    assert result.priority.tolist() == [0.5, 2.0]
    assert (result.slot.tolist(), result.generation.tolist()) == ([4, 5], [1, 2])
    assert result.losses == {"total": 5.0, **dict.fromkeys(PARTS, 2.0)}


def test_tensors_hold_all_that_the_losses_read():
    tensors = to_tensors(small_batch(), "cpu")
    assert "slot" not in tensors
    assert "generation" not in tensors
    assert tensors["value"].tolist() == [[1.0, 9.0], [-2.0, 9.0]]
    assert tensors["action"].dtype == torch.int64

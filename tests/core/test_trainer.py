from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rllib_ez.core.config import OptimizerConfig
from rllib_ez.core.losses import PARTS
from rllib_ez.core.trainer import (
    Optimizer,
    Step,
    finished,
    learning_rate_at,
    make_optimizer,
    step_results,
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
    optimizer = Optimizer(make_optimizer([parameter], config), config)
    for update in range(updates):
        optimizer.step(loss_of(parameter), update=update)
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
    optimizer = Optimizer(make_optimizer([parameter], config), config)
    norm, rate = optimizer.step(parameter.square().sum(), update=0)
    assert (norm.item(), rate) == (10.0, 1.0)


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


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float, name: str):
    """Not even by momentum or decay, which the first update has begun."""
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    config = OptimizerConfig(optimizer_name=name)
    optimizer = Optimizer(make_optimizer([parameter], config), config)
    optimizer.step(parameter.sum(), update=0)
    before = parameter.tolist()
    optimizer.step(parameter.sum() * bad, update=1)
    assert parameter.tolist() == before
    optimizer.step(parameter.sum(), update=2)
    assert parameter.tolist() != before


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


def step_of(
    *, total: float = 5.0, norm: float = 2.0, update: int = 7, root_value: float = 1.5
) -> Step:
    out = {name: torch.tensor([1.0, 3.0]) for name in PARTS}
    out |= {"total": torch.tensor(total), "root_value": torch.tensor([root_value, 0.0])}
    return finished(out, small_batch(), update=update, norm=torch.tensor(norm), learning_rate=0.1)


def test_priorities_are_the_error_of_the_root_value():
    (result,) = step_results([step_of()])
    assert result.priority.tolist() == [0.5, 2.0]
    assert (result.slot.tolist(), result.generation.tolist()) == ([4, 5], [1, 2])
    assert result.losses == {"total": 5.0, **dict.fromkeys(PARTS, 2.0)}


def test_several_steps_are_read_in_order():
    steps = [step_of(total=1.0, norm=3.0), step_of(total=4.0, root_value=5.0)]
    first, second = step_results(steps)
    assert (first.losses["total"], first.grad_norm) == (1.0, 3.0)
    assert (second.losses["total"], second.grad_norm) == (4.0, 2.0)
    assert (first.priority.tolist(), second.priority.tolist()) == ([0.5, 2.0], [4.0, 2.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_told_with_its_update(bad: float):
    with pytest.raises(FloatingPointError, match="loss must be finite, got .* at update 8"):
        step_results([step_of(), step_of(total=bad, update=8)])


def test_a_gradient_that_is_not_finite_is_told_with_its_update():
    with pytest.raises(FloatingPointError, match="norm must be finite, got inf at update 7"):
        step_results([step_of(norm=float("inf"))])


def test_tensors_hold_all_that_the_losses_read():
    tensors = to_tensors(small_batch(), "cpu")
    assert "slot" not in tensors
    assert "generation" not in tensors
    assert tensors["value"].tolist() == [[1.0, 9.0], [-2.0, 9.0]]
    assert tensors["action"].dtype == torch.int64

"""Precise BatchNorm: statistics of the weights as they are, not of those they came from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rllib_ez.core.losses import unroll
from rllib_ez.core.networks import EfficientZeroModel

Norm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def renew_statistics(
    model: EfficientZeroModel, batches: Iterable[dict[str, Tensor]], *, lstm_horizon: int
) -> None:
    """Replaces the running means and variances that acting needs by plain means over some batches.

    The running ones are means over the last ten or so updates, of as many different networks. Where
    weights move fast and what matters is a small part of a picture, acting with them can be far
    from what was learned: an Atari Pong network whose values told hit from miss with AUC 0.80 by
    its batches' statistics had 0.45 by the running ones. Learning itself never reads them.

    Args:
        model: in any mode; is left in training mode. The SimSiam parts stay as they are.
        batches: fields of `TrainBatch` as tensors on the model's device; frames are not augmented,
            as in acting. Nothing happens without any.
        lstm_horizon: as in search.

    Source: "Precise BatchNorm", Wu and Johnson, "Rethinking 'Batch' in BatchNorm",
    arXiv:2105.07576, section 3.
    """
    norms = acting_norms(model)
    momenta = [norm.momentum for norm in norms]
    model.train()
    try:
        for number, batch in enumerate(batches):
            if number == 0:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # torch: a plain mean over all calls
            action = batch["action"]
            stack = batch["frames"].shape[1] - action.shape[1]
            unroll(
                model,
                batch["frames"][:, :stack],
                action,
                lstm_horizon=lstm_horizon,
                gradient_scale=1.0,
            )
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def acting_norms(model: EfficientZeroModel) -> list[Norm]:
    """The batch norms of what `inference_state_dict` holds."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        and not name.startswith(("projector.", "predictor."))
    ]

"""The self-supervised loss: what is imagined should look like what is then seen.

Two forms of one signature, chosen by `LossConfig.consistency_loss`: SimSiam and InfoNCE.
Axes: B samples, K unroll_steps, P projection_size, L frame_stack.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rllib_ez.core.config import LossConfig
from rllib_ez.core.networks import EfficientZeroModel


def consistency_loss(
    model: EfficientZeroModel,
    imagined: Tensor,
    frames: Tensor,
    *,
    mask: Tensor,
    config: LossConfig,
) -> Tensor:
    """Each imagined latent should project like the observation really seen there.

        p[b, k] = predictor(project(imagined[b, k]))
        t[b, k] = stopgrad(project(represent(o[b, k])))
        loss    = mask * form(p, t)

    Args:
        model: the online network gives both branches.
        imagined: [B, K, ...] latents after steps 1..K.
        frames: [B, L+K-1, *frame]; observation k (from 1) is frames[:, k-1 : k-1+L].
        mask: [B, K] f32, 0 where the episode is over: the frames there only repeat.
        config: which form.

    Returns:
        [B, K] f32, 0 where masked.

    Source: EfficientZero, arXiv:2111.00210, section 4.1.
    """
    steps = imagined.shape[1]
    stack = frames.shape[1] - steps + 1
    observed = torch.stack([frames[:, k : k + stack] for k in range(steps)], dim=1)
    with torch.no_grad():
        target = model.project(model.represent(observed.flatten(0, 1)))
    predicted = model.predictor(model.project(imagined.flatten(0, 1)))
    shape = (*imagined.shape[:2], -1)
    return FORMS[config.consistency_loss](
        predicted.float().view(shape), target.float().view(shape), mask, config=config
    )


def negative_cosine(
    predicted: Tensor, target: Tensor, mask: Tensor, *, config: LossConfig
) -> Tensor:
    """SimSiam: alike, whatever the other samples look like.

        loss[b, k] = -mask[b, k] * cos(predicted[b, k], target[b, k])

    Args:
        predicted: [B, K, P] f32.
        target: [B, K, P] f32, without gradient.
        mask: [B, K] f32, 0 or 1.
        config: has nothing to say here.

    Returns:
        [B, K] f32, in [-1, 1].

    Source: SimSiam, arXiv:2011.10566, eq. 1.
    """
    return -functional.cosine_similarity(predicted, target, dim=-1) * mask


def info_nce(predicted: Tensor, target: Tensor, mask: Tensor, *, config: LossConfig) -> Tensor:
    """InfoNCE: more alike than to what the batch's other samples saw at the same step.

        s[b, j, k] = cos(predicted[b, k], target[j, k]) / infonce_temperature
        loss[b, k] = mask[b, k] * (log sum_j exp s[b, j, k]  -  s[b, b, k])

    where j runs over b and all samples that are not masked at step k: a frame that repeats
    past an episode's end is neither a positive nor a negative. Of several learners each
    compares within its own share of the batch.

    Args:
        predicted: [B, K, P] f32.
        target: [B, K, P] f32, without gradient.
        mask: [B, K] f32, 0 or 1.
        config: `infonce_temperature`.

    Returns:
        [B, K] f32, in nats: >= 0, log(number of samples compared) if all look the same.

    Source: CPC, arXiv:1807.03748, eq. 4; the batch's other samples are the negatives as in CURL,
    arXiv:2004.04136; cosine, predictor and stopped gradient as in SimSiam, arXiv:2011.10566.
    """
    unit = functional.normalize(predicted, dim=-1).transpose(0, 1)  # [K, B, P]
    unit_target = functional.normalize(target, dim=-1).transpose(0, 1)
    with torch.autocast(predicted.device.type, enabled=False):  # it would multiply in 8 bits
        scores = unit @ unit_target.transpose(1, 2) / config.infonce_temperature  # [K, B, B]
    itself = torch.eye(len(mask), dtype=torch.bool, device=mask.device)
    compared = itself | (mask.T[:, None, :] > 0)  # [K, B, B], a masked row keeps itself: finite
    positive = scores.diagonal(dim1=1, dim2=2)  # [K, B]
    entropy = scores.masked_fill(~compared, -torch.inf).logsumexp(dim=-1) - positive
    return entropy.T * mask


FORMS = {"simsiam": negative_cosine, "infonce": info_nce}

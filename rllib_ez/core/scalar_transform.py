"""Rewards and values as categories: h, its inverse, and the two-hot code on its scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 0.001  # slope of h far from 0; keeps h invertible


def scale(x: Tensor) -> Tensor:
    """Squashes returns so that large and small ones share one range of bins.

        h(x) = sign(x) * (sqrt(|x| + 1) - 1) + eps * x

    Args:
        x: [...] f32, reward units.

    Returns:
        [...] f32, odd in x and strictly increasing.

    Source: Pohlen et al. 2018, arXiv:1805.11593; MuZero, arXiv:1911.08265, appendix F.
    """
    return torch.sign(x) * (torch.sqrt(x.abs() + 1) - 1) + EPSILON * x


def unscale(y: Tensor) -> Tensor:
    """The exact inverse of `scale`.

        h^-1(y) = sign(y) * (((sqrt(1 + 4 eps (|y| + 1 + eps)) - 1) / (2 eps))**2 - 1)

    Computed as |y| + ... would lose digits near 0 in f32, so the square root's difference is
    rewritten: (sqrt(1 + u) - 1) / (2 eps) = u / (2 eps (sqrt(1 + u) + 1)).

    Args:
        y: [...] f32, scaled.

    Returns:
        [...] f32, reward units.
    """
    u = 4 * EPSILON * (y.abs() + 1 + EPSILON)
    root = u / (2 * EPSILON * (torch.sqrt(1 + u) + 1))
    return torch.sign(y) * (root * root - 1)


@dataclass(frozen=True, slots=True)
class Support:
    """`num_bins` evenly spaced points in [-limit, limit] of the scaled axis."""

    limit: float
    num_bins: int

    def bins(self, like: Tensor) -> Tensor:
        """The points, [S], of the dtype and on the device of `like`."""
        half = self.num_bins // 2
        steps = torch.arange(-half, half + 1, device=like.device, dtype=like.dtype)
        return steps * (self.limit / half)

    def two_hot(self, x: Tensor) -> Tensor:
        """Splits h(x) over its two neighbouring bins so that the mean of the bins is h(x).

        Args:
            x: [...] f32, reward units; beyond the range it is clipped to the last bin.

        Returns:
            [..., S] f32, rows sum to 1, at most two entries above 0, and those adjacent.
        """
        half = self.num_bins // 2
        position = scale(x).clamp(-self.limit, self.limit) * (half / self.limit) + half  # [...]
        low = position.floor().clamp(0, self.num_bins - 2)
        weight = (position - low).unsqueeze(-1)
        index = low.long().unsqueeze(-1)
        code = torch.zeros(*x.shape, self.num_bins, dtype=x.dtype, device=x.device)
        code.scatter_(-1, index, 1 - weight)
        return code.scatter_(-1, index + 1, weight)

    def expectation(self, logits: Tensor) -> Tensor:
        """Undoes `two_hot`: the mean of the bins under softmax(logits), in reward units.

        Args:
            logits: [..., S], f32 or bf16.

        Returns:
            [...] f32, reward units.
        """
        probs = torch.softmax(logits.float(), dim=-1)
        with torch.autocast(logits.device.type, enabled=False):  # 8 bits are not enough for a mean
            return unscale(probs @ self.bins(probs))

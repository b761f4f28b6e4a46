"""Batch norms in evaluation as part of the convolutions before them.

Axes: O outputs, I inputs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rllib_ez.core.networks.blocks import ResidualBlock

Exact = NDArray[np.float64]


def block_convs(block: nn.Module) -> list[tuple[Exact, Exact]]:
    """Weights [O, I, 3, 3] and biases [O] of a residual block, batch norms folded in."""
    assert isinstance(block, ResidualBlock), block
    return [fold(block.conv1, block.norm1), fold(block.conv2, block.norm2)]


def shortcut_conv(block: nn.Module) -> tuple[Exact, Exact]:
    """What a block that changes the size adds to its output, as weight and bias."""
    assert isinstance(block, ResidualBlock), block
    assert isinstance(block.shortcut, nn.Conv2d), block.shortcut
    weight = exact(block.shortcut.weight)
    return weight, np.zeros(len(weight))


def fold(conv: nn.Module, norm: nn.Module) -> tuple[Exact, Exact]:
    """A convolution without bias and the batch norm behind it: weight and bias of one."""
    assert isinstance(conv, nn.Conv2d), conv
    scale, shift = folded(norm)
    return exact(conv.weight) * scale[:, None, None, None], shift


def folded(norm: nn.Module) -> tuple[Exact, Exact]:
    """A batch norm in evaluation as x * scale + shift, both [C] f64."""
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)), norm
    assert norm.running_mean is not None, norm
    assert norm.running_var is not None, norm
    scale = exact(norm.weight) / np.sqrt(exact(norm.running_var) + norm.eps)
    return scale, exact(norm.bias) - exact(norm.running_mean) * scale


def exact(tensor: Tensor) -> Exact:
    """A tensor in f64, so that folding does not round."""
    return tensor.detach().cpu().double().numpy()

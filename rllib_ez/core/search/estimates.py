"""What search asks of a model, and what it gets: numbers instead of logits, no gradients.

Axes: B roots, A actions, M lstm_size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import Rules, Tree


@dataclass(frozen=True, slots=True)
class RootEstimate:
    """The network's view of B roots."""

    latent: Tensor  # [B, ...] f32, in the layout of the model that made it
    prior: np.ndarray  # [B, A] f32, rows sum to 1
    value: np.ndarray  # [B] f32, reward units


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """The network's view of B imagined steps."""

    latent: Tensor  # [B, ...] f32
    memory: Tensor  # [2, B, M] f32
    prior: np.ndarray  # [B, A] f32
    value: np.ndarray  # [B] f32, reward units
    value_prefix: np.ndarray  # [B] f32, reward units


class StepModel(Protocol):
    """A model that imagines one step at a time. Rows must not influence each other."""

    memory_size: int  # M

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        """Imagines one step: latent [B, ...], memory [2, B, M], action [B] i64."""
        ...


@runtime_checkable
class WholeSearch(Protocol):
    """A model that runs all simulations itself: compiled code, or on a device."""

    def run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool = False
    ) -> Conclusion:
        """Grows the planted trees from root latents [B, ...] and concludes.

        keep_tree: `child`, `visits` and `q` of the grown trees must stand in `tree` afterwards;
            else `tree` may be left in any state.
        """
        ...

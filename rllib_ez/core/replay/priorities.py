"""From priorities to masses in the sum tree, and to draws by them. Axes: B samples, M slots.

    P(i) = priority(i)**alpha / sum_j priority(j)**alpha
    w(i) = (N * P(i))**-beta / max_b w(b)

with N positions that can be drawn.
Source: prioritized experience replay, arXiv:1511.05952.
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay.ring import Changes
from rllib_ez.core.replay.sum_tree import SumTree

MIN_PRIORITY = 1e-6  # nothing sampleable is ever out of reach
MASS_RANGE = (1e-30, 1e30)  # of priority**alpha: the sum stays finite and above 0


def masses(priority: np.ndarray, alpha: float) -> np.ndarray:
    """priority**alpha [M] f64; what is below 1e-6 counts as 1e-6."""
    mass: np.ndarray = np.clip(np.maximum(priority, MIN_PRIORITY) ** alpha, *MASS_RANGE)
    return mass


def apply_changes(tree: SumTree, changes: list[Changes]) -> None:
    """Gives what became sampleable the largest mass there is, and takes it from what ceased to."""
    if not changes:
        return
    newest = tree.max_mass or 1.0
    slots = np.concatenate([slots for slots, _ in changes])
    sampleable = np.concatenate([flags for _, flags in changes])
    tree.set(slots, np.where(sampleable, newest, 0.0))


def draw(
    tree: SumTree, num_samples: int, *, rng: np.random.Generator, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Slots [B] i64, one from each of B equal parts of the total, and their w [B] f32, max 1."""
    # Shuffled, so that a part of the batch is as good a sample as the whole.
    parts = (rng.permutation(num_samples) + rng.random(num_samples)) / num_samples
    slot = tree.sample(parts)
    log_weight = -beta * np.log(tree.num_positive * (tree.mass[slot] / tree.total))
    return slot, np.exp(log_weight - log_weight.max()).astype(np.float32)


def is_exponent(config: ReplayConfig, update: int) -> float:
    """Beta at a gradient update, >= 0: grows linearly, then stays."""
    if update < 0:
        raise ValueError(f"update must be >= 0, got {update}")
    done = min(1.0, update / config.is_exponent_updates)
    return config.is_exponent_initial * (1 - done) + config.is_exponent_final * done


def check_priorities(slot: np.ndarray, generation: np.ndarray, priority: np.ndarray) -> None:
    """Raises ValueError unless all three are [M] and priorities are finite and >= 0."""
    if not slot.shape == np.shape(generation) == priority.shape == (slot.size,):
        raise ValueError(
            "slot, generation and priority must be [M] alike, got "
            f"{slot.shape}, {np.shape(generation)} and {priority.shape}"
        )
    if slot.size and not (priority.min() >= 0 and priority.max() < np.inf):
        raise ValueError(
            f"priority must be finite and >= 0, got {priority.min()}..{priority.max()}"
        )

"""What one slot holds: the one list that allocation, budget and files are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rllib_ez.core.replay.sum_tree import BYTES_PER_LEAF

# What stays as it was written until the slot is closed or overwritten: the bulk of replay.
WRITTEN_ONCE = ("frame", "action", "reward", "policy", "root_value", "collected_at_update")
BLOCK_BYTES = 2**24  # of one file of these columns, where MIN_BLOCK_SLOTS allow it
MIN_BLOCK_SLOTS = 256


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """The shapes of one slot."""

    frame_shape: tuple[int, ...]
    frame_dtype: np.dtype
    num_actions: int

    def fields(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Name, shape and dtype of everything kept per slot."""
        i64, f32, u8 = np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.uint8)
        return {
            "frame": (self.frame_shape, self.frame_dtype),
            "action": ((), np.dtype(np.int32)),
            "reward": ((), f32),
            "policy": ((self.num_actions,), f32),
            "root_value": ((), f32),
            "collected_at_update": ((), i64),
            "next_slot": ((), i64),
            "prev_slot": ((), i64),
            "generation": ((), i64),
            "kind": ((), u8),
            "context": ((), u8),
        }

    def bytes_per_position(self) -> int:
        """Memory of one slot, its priority included."""
        return self._bytes(*self.fields()) + BYTES_PER_LEAF

    def block_slots(self) -> int:
        """Slots whose bulk is kept in one file: a change to one of them rewrites so many."""
        return max(MIN_BLOCK_SLOTS, BLOCK_BYTES // self._bytes(*WRITTEN_ONCE))

    def _bytes(self, *names: str) -> int:
        fields = [self.fields()[name] for name in names]
        return sum(math.prod(shape) * dtype.itemsize for shape, dtype in fields)

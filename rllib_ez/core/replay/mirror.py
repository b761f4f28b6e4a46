"""A copy of replay's frames in a device's memory, so that batches are gathered where they are used.

The frames in the host's memory stay the ones that count: they are saved, and archived.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class FrameMirror:
    """Frames [capacity, *frame] on a device; whoever writes the host's must write these, too."""

    def __init__(self, frame: np.ndarray, device: torch.device) -> None:
        self.frame = torch.zeros(
            frame.shape, dtype=torch.from_numpy(frame[:0]).dtype, device=device
        )

    def write(self, slots: np.ndarray, frames: np.ndarray) -> None:
        """Puts frames [M, *frame] into slots [M] i64, each named once."""
        index = torch.from_numpy(slots).to(self.frame.device)
        self.frame[index] = torch.from_numpy(np.ascontiguousarray(frames)).to(self.frame.device)

    def write_first(self, frames: np.ndarray) -> None:
        """Puts frames [M, *frame] into the first M slots."""
        self.frame[: len(frames)].copy_(torch.from_numpy(frames))

    def gather(self, slots: np.ndarray) -> Tensor:
        """The frames [..., *frame] of slots [...] i64, copied on the device."""
        index = torch.from_numpy(np.ascontiguousarray(slots)).to(self.frame.device)
        picked = torch.index_select(self.frame, 0, index.flatten())
        return picked.view(*slots.shape, *self.frame.shape[1:])

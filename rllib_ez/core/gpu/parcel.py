"""Arrays of several types in one piece of memory: one copy moves them all."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 16  # bytes


class Field(NamedTuple):
    """An array to be."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """What it takes, without padding."""
        return self.dtype.itemsize * math.prod(self.shape)


def named(arrays: tuple[Any, ...], prefix: str = "") -> dict[str, Any]:
    """The fields of a NamedTuple by name."""
    return {
        prefix + name: array
        for name, array in zip(type(arrays).__annotations__, arrays, strict=True)
    }


class Parcel:
    """The same arrays twice, on the host and on a device; all 0 at first."""

    def __init__(self, fields: dict[str, Field], device: torch.device) -> None:
        size = parcel_bytes(fields)
        pinned = device.type == "cuda"  # only then a copy does not hold up the host
        self.host = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
        self.device = torch.zeros(size, dtype=torch.uint8, device=device)
        self.arrays: dict[str, Any] = {}  # NumPy arrays, in `host`
        self.tensors: dict[str, Tensor] = {}  # in `device`
        start = 0
        for name, field in fields.items():
            piece = slice(start, start + field.num_bytes)
            start += _padded(field.num_bytes)
            dtype = torch.from_numpy(np.empty(0, field.dtype)).dtype
            self.arrays[name] = self.host[piece].numpy().view(field.dtype).reshape(field.shape)
            self.tensors[name] = self.device[piece].view(dtype).view(field.shape)

    def send(self) -> None:
        """Host to device, in the order of the current stream."""
        self.device.copy_(self.host, non_blocking=True)

    def fetch(self) -> None:
        """Device to host; the arrays are there once the stream has been waited for."""
        self.host.copy_(self.device, non_blocking=True)


def parcel_bytes(fields: dict[str, Field]) -> int:
    """What a parcel takes, on the host and again on the device."""
    return sum(_padded(field.num_bytes) for field in fields.values())


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT

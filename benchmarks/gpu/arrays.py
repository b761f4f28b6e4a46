"""Large arrays taken out of nested state into bytes that compress well, and put back.

Equal arrays are kept once, target networks as what differs from the learner's weights.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

LOSSES = ("nothing", "momentum is rounded to bf16", "momentum starts at zero")
MARK, MOMENTUM = "__array__", "momentum_buffer"


@dataclass
class Arrays:
    """Arrays of one parcel, in two sections of bytes; an entry says how to get one back."""

    loss: int  # index of LOSSES
    sections: dict[str, bytearray] = field(
        default_factory=lambda: {"weights": bytearray(), "momentum": bytearray()}
    )
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)  # entries by content
    bases: dict[str, np.ndarray] = field(default_factory=dict)  # the learner's, by name

    def put(self, name: str, array: np.ndarray) -> dict[str, Any]:
        """Keeps an array unless there is an equal one; the entry."""
        entry: dict[str, Any] = {"dtype": array.dtype.str, "shape": array.shape}
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        digest = hashlib.sha256(f"{name == MOMENTUM} {entry}".encode() + content.data).hexdigest()
        if digest not in self._known:
            self._known[digest] = entry | self._stored(name, array)
        return self._known[digest]

    def _stored(self, name: str, array: np.ndarray) -> dict[str, Any]:
        if name == MOMENTUM:
            if self.loss == 0:
                return {"kind": "plain", **self._append("momentum", array)}
            if self.loss == 1:
                return {"kind": "bf16", **self._append("momentum", to_bf16(array))}
            return {"kind": "zeros"}
        base = self.bases.get(name)
        if base is None or (base.shape, base.dtype) != (array.shape, array.dtype):
            return {"kind": "plain", **self._append("weights", array)}
        stored = self._append("weights", bits(array) ^ bits(base))
        return {"kind": "xor", "base": self.put("", base), **stored}

    def _append(self, section: str, array: np.ndarray) -> dict[str, Any]:
        content, start = shuffled(array), len(self.sections[section])
        self.sections[section] += content
        return {"section": section, "start": start, "stop": start + len(content)}


def read_array(entry: dict[str, Any], sections: dict[str, bytes]) -> np.ndarray:
    """The array [...] of an entry."""
    kind, dtype = entry["kind"], np.dtype(entry["dtype"])
    if kind == "zeros":
        return np.zeros(entry["shape"], dtype)
    content = sections[entry["section"]][entry["start"] : entry["stop"]]
    if kind == "bf16":
        flat = from_bf16(unshuffled(content, 2).view(np.uint16))
    else:
        flat = unshuffled(content, dtype.itemsize)
    if kind == "xor":
        flat ^= bits(read_array(entry["base"], sections)).view(np.uint8)
    return flat.view(dtype).reshape(entry["shape"])


def bits(array: np.ndarray) -> np.ndarray:
    """[num_items] unsigned, of the same bytes."""
    unsigned: np.ndarray = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
    return unsigned


def shuffled(array: np.ndarray) -> bytes:
    """All first bytes, then all second ones ...: exponents together are compressed well."""
    in_order: np.ndarray = bits(array).view(np.uint8).reshape(-1, array.dtype.itemsize)
    return in_order.T.tobytes()


def unshuffled(content: bytes, itemsize: int) -> np.ndarray:
    """[num_bytes] u8 of `shuffled`."""
    return np.frombuffer(content, np.uint8).reshape(itemsize, -1).T.copy().reshape(-1)


def to_bf16(array: np.ndarray) -> np.ndarray:
    """[num_items] u16, rounded to the nearest."""
    rounded = torch.from_numpy(np.ascontiguousarray(array).reshape(-1)).to(torch.bfloat16)
    return rounded.view(torch.int16).numpy().view(np.uint16)


def from_bf16(rounded: np.ndarray) -> np.ndarray:
    """[4 * num_items] u8 of f32."""
    return (rounded.astype(np.uint32) << 16).view(np.uint8)


def taken_out(tree: Any, arrays: Arrays, name: str = "") -> Any:
    """A copy of a tree with entries in place of its arrays and tensors."""
    if isinstance(tree, torch.Tensor):
        return {MARK: arrays.put(name, tree.numpy()), "tensor": True}
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        return {MARK: arrays.put(name, tree), "tensor": False}
    return mapped(tree, lambda key, value: taken_out(value, arrays, key))


def put_back(tree: Any, sections: dict[str, bytes]) -> Any:
    """The reverse of `taken_out`."""
    if isinstance(tree, dict) and MARK in tree:
        array = read_array(tree[MARK], sections)
        return torch.from_numpy(array) if tree["tensor"] else array
    return mapped(tree, lambda _, value: put_back(value, sections))


def mapped(tree: Any, change: Callable[[str, Any], Any]) -> Any:
    """A dict or list of the same type with every value changed; all else as it is."""
    if isinstance(tree, dict):
        found = copy.copy(tree)
        found.update({key: change(str(key), value) for key, value in tree.items()})
        return found
    return [change("", value) for value in tree] if type(tree) is list else tree

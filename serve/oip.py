"""The Open Inference Protocol v2 as bytes: JSON tensors, and the binary extension.

Source: https://github.com/kserve/open-inference-protocol and Triton's "binary tensor data
extension". Axes: n observations, A actions.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.bodies import refused
from serve.errors import BadRequest

DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "FP32": np.float32,
}
HEADER_LENGTH = "inference-header-content-length"


class TensorIn(BaseModel):
    """One input."""

    model_config = ConfigDict(extra="forbid")

    name: str
    datatype: str
    shape: list[int] = Field(max_length=8)
    data: list[Any] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class OutputWanted(BaseModel):
    """One output that is asked for."""

    model_config = ConfigDict(extra="forbid")

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """The JSON part of an inference request."""

    model_config = ConfigDict(extra="forbid")

    id: str = ""
    inputs: list[TensorIn] = Field(max_length=16)
    outputs: list[OutputWanted] = Field(default_factory=list, max_length=16)
    parameters: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inference:
    """A request, read."""

    id: str
    inputs: dict[str, np.ndarray]
    wanted: dict[str, bool]  # name: as bytes; empty: the default outputs
    parameters: dict[str, Any]

    @property
    def is_binary(self) -> bool:
        """Whether outputs that are not named are wanted as bytes."""
        return bool(self.parameters.get("binary_data_output", False))


def read_inference(body: bytes, header_length: str | None) -> Inference:
    """A request's body.

    Args:
        body: JSON, or JSON and then bytes.
        header_length: how long the JSON is, where bytes follow it.

    Raises:
        BadRequest: it cannot be read.
        Unprocessable: a field breaks a rule.
    """
    head, tail = body, b""
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            raise BadRequest(
                f"{HEADER_LENGTH} must be 0 .. {len(body)}, the body's length, got "
                f"{header_length[:40]!r}"
            )
        head, tail = body[: int(header_length)], body[int(header_length) :]
    try:
        request = InferRequest.model_validate_json(head)
    except ValidationError as error:
        raise refused(error) from error
    inputs: dict[str, np.ndarray] = {}
    for tensor in request.inputs:
        if tensor.name in inputs:
            raise BadRequest(f"inputs must be named once each, got {tensor.name!r} again")
        inputs[tensor.name], tail = read_tensor(tensor, tail)
    if tail:
        raise BadRequest(f"the body must end with its last tensor, got {len(tail)} bytes more")
    binary = bool(request.parameters.get("binary_data_output", False))
    wanted = {w.name: bool(w.parameters.get("binary_data", binary)) for w in request.outputs}
    return Inference(request.id, inputs, wanted, request.parameters)


def read_tensor(tensor: TensorIn, tail: bytes) -> tuple[np.ndarray, bytes]:
    """A tensor, and the bytes after it.

    Raises:
        BadRequest: an unknown datatype, or another size than its shape says.
    """
    kind = DTYPES.get(tensor.datatype)
    if kind is None:
        raise BadRequest(
            f"datatype of {tensor.name!r} must be one of {', '.join(DTYPES)}, got "
            f"{tensor.datatype!r}"
        )
    if any(size < 0 for size in tensor.shape):
        raise BadRequest(f"shape of {tensor.name!r} must be >= 0, got {tensor.shape}")
    dtype = np.dtype(kind).newbyteorder("<")
    count = math.prod(tensor.shape)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return from_list(tensor, dtype, count), tail
    if tensor.data is not None:
        raise BadRequest(f"{tensor.name!r} must have data or binary_data_size, got both")
    if size != count * dtype.itemsize or size > len(tail):
        raise BadRequest(
            f"binary_data_size of {tensor.name!r} must be {count * dtype.itemsize} for "
            f"{tensor.datatype} of shape {tensor.shape}, and in the body, got {size} and "
            f"{len(tail)} bytes"
        )
    array = np.frombuffer(tail[:size], dtype).reshape(tensor.shape)
    return array.astype(kind, copy=False), tail[size:]


def from_list(tensor: TensorIn, dtype: np.dtype, count: int) -> np.ndarray:
    """Data in JSON, flat or nested."""
    try:
        array = np.asarray(tensor.data if tensor.data is not None else [])
        if array.size != count:
            raise ValueError(f"{array.size} numbers")
        if array.dtype.kind not in "iufb":
            raise ValueError(f"{array.dtype}")
        if dtype.kind in "iu" and count:
            info = np.iinfo(dtype)
            if array.dtype.kind == "f" or not info.min <= array.min() <= array.max() <= info.max:
                raise ValueError("numbers out of its range")
        return array.reshape(tensor.shape).astype(dtype.newbyteorder("="))
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise BadRequest(
            f"data of {tensor.name!r} must be {count} numbers of {tensor.datatype}, got "
            f"{str(error)[:200]}"
        ) from error


def written(head: dict[str, Any], outputs: dict[str, tuple[np.ndarray, bool]]) -> tuple[bytes, int]:
    """A reply: the body, and how long its JSON is where bytes follow (else 0).

    Args:
        head: model_name and the like.
        outputs: name: array, and whether as bytes.
    """
    names = {np.dtype(kind): name for name, kind in DTYPES.items()}
    tensors, blobs = [], []
    for name, (array, as_bytes) in outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": names[array.dtype],
            "shape": list(array.shape),
        }
        if as_bytes:
            blob = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            tensor["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            # JSON knows no nan: what was never tried is null.
            flat = array.ravel().tolist()
            tensor["data"] = [None if x != x else x for x in flat]
        tensors.append(tensor)
    raw = json.dumps({**head, "outputs": tensors}, allow_nan=False).encode()
    return raw + b"".join(blobs), len(raw) if blobs else 0

"""The Open Inference Protocol v2 as bytes: JSON tensors, and the binary extension.

Source: https://github.com/kserve/open-inference-protocol and Triton's "binary tensor data
extension". Axes: n observations, A actions.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from serve.bodies import refused
from serve.errors import BadRequest
from serve.query import plain_numbers, shortened
from serve.schema import STRICT

DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "FP32": np.float32,
}
HEADER_LENGTH = "inference-header-content-length"
_LENGTH = re.compile(r"[0-9]{1,18}")
Name = Annotated[str, Field(max_length=128)]


class InputParameters(BaseModel):
    """Of one input."""

    model_config = STRICT

    binary_data_size: Annotated[int, Field(ge=0, description="bytes after the JSON")] | None = None


class TensorIn(BaseModel):
    """One input: observation, seed [n], simulations [n], or legal_actions [n, A] (a mask)."""

    model_config = STRICT

    name: Name
    datatype: str = Field(max_length=16)
    shape: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(max_length=8)
    data: list[Any] | None = Field(None, description="flat or nested, in C order")
    parameters: InputParameters = InputParameters()


class OutputParameters(BaseModel):
    """Of one output."""

    model_config = STRICT

    binary_data: bool | None = None


class OutputWanted(BaseModel):
    """One output that is asked for: action, value, policy, visits, or q."""

    model_config = STRICT

    name: Name
    parameters: OutputParameters = OutputParameters()


class InferParameters(BaseModel):
    """How to search; no sequences and no priorities."""

    model_config = STRICT

    binary_data_output: Annotated[bool, Field(description="outputs as bytes, too")] = False
    deterministic: bool | None = None
    temperature: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    deadline_ms: Annotated[float, Field(gt=0, le=3.6e6, allow_inf_nan=False)] | None = None


class InferRequest(BaseModel):
    """The JSON part of an inference request."""

    model_config = STRICT

    id: str = Field("", max_length=256, description="comes back")
    inputs: list[TensorIn] = Field(max_length=16)
    outputs: list[OutputWanted] = Field(default_factory=list, max_length=16)
    parameters: InferParameters = InferParameters()


@dataclass(frozen=True, slots=True)
class Inference:
    """A request, read."""

    id: str
    inputs: dict[str, np.ndarray]
    wanted: dict[str, bool]  # name: as bytes; empty: the default outputs
    is_binary: bool  # outputs that are not named are wanted as bytes
    options: dict[str, Any]  # of `ActRequest`


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
        if not _LENGTH.fullmatch(header_length) or int(header_length) > len(body):
            raise BadRequest(
                f"{HEADER_LENGTH} must be 0 .. {len(body)}, the body's length, got "
                f"{shortened(header_length)!r}"
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
    options = request.parameters.model_dump(exclude_none=True)
    binary = options.pop("binary_data_output")
    asked = {output.name: output.parameters.binary_data for output in request.outputs}
    wanted = {name: binary if own is None else own for name, own in asked.items()}
    return Inference(request.id, inputs, wanted, binary, options)


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
    dtype = np.dtype(kind).newbyteorder("<")
    count = math.prod(tensor.shape)
    size = tensor.parameters.binary_data_size
    if size is None:
        return from_list(tensor, dtype, count), tail
    if tensor.data is not None:
        raise BadRequest(f"{tensor.name!r} must have data or binary_data_size, got both")
    if size != count * dtype.itemsize or size > len(tail):
        raise BadRequest(
            f"binary_data_size of {tensor.name!r} must be {count * dtype.itemsize} for "
            f"{tensor.datatype} of shape {tensor.shape}, and in the body, got {shortened(size)} "
            f"and {len(tail)} bytes"
        )
    return shaped(np.frombuffer(tail[:size], dtype), tensor).astype(kind, copy=False), tail[size:]


def shaped(array: np.ndarray, tensor: TensorIn) -> np.ndarray:
    """In the tensor's shape; empty tensors may have one that numpy refuses."""
    try:
        return array.reshape(tensor.shape)
    except ValueError as error:
        raise BadRequest(f"shape of {tensor.name!r} must hold together, got {error}") from error


def from_list(tensor: TensorIn, dtype: np.dtype, count: int) -> np.ndarray:
    """Data in JSON, flat or nested."""
    try:
        array = plain_numbers(tensor.data if tensor.data is not None else [])
        if array.size != count:
            raise ValueError(f"got {array.size} numbers")
        if array.size and (array.dtype.kind == "b") != (dtype.kind == "b"):
            raise ValueError(f"got {array.dtype}")
        if dtype.kind in "iu" and count:
            info = np.iinfo(dtype)
            if array.dtype.kind == "f" or not info.min <= array.min() <= array.max() <= info.max:
                raise ValueError("got numbers out of its range")
    except ValueError as error:
        raise BadRequest(
            f"data of {tensor.name!r} must be {count} numbers of {tensor.datatype}: "
            f"{shortened(error)}"
        ) from error
    with np.errstate(over="ignore"):  # infinite then, which an observation may not be
        return shaped(array, tensor).astype(dtype.newbyteorder("="))


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

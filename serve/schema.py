"""The bodies of requests and replies, as OpenAPI shows them. Unknown fields are refused."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from typing_extensions import TypeAliasType

Include = Literal["policy", "visits", "value", "q", "principal_variation"]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
Action = Annotated[int, Field(ge=0)]
MAX_LIST = 65_536  # entries of any list but an observation's

STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


class Array(BaseModel):
    """Numbers as bytes: base64 in JSON, binary in msgpack; C order, little endian."""

    model_config = STRICT

    data: Annotated[str | bytes, WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
    shape: list[Annotated[int, Field(ge=0, le=2**31)]] = Field(max_length=8)
    dtype: Literal["uint8", "float32"]

    def decode(self) -> np.ndarray:
        """The array.

        Raises:
            ValueError: no base64, or another number of bytes than shape and dtype say.
        """
        raw = self.data
        if isinstance(raw, str):
            try:
                raw = base64.b64decode(raw, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"must have base64 as data, got {error}") from error
        dtype = np.dtype(self.dtype).newbyteorder("<")
        expected = math.prod(self.shape) * dtype.itemsize
        if len(raw) != expected:
            raise ValueError(
                f"must have {expected} bytes as data for {self.dtype} of shape {self.shape}, got "
                f"{len(raw)}"
            )
        try:
            return np.frombuffer(raw, dtype).reshape(self.shape)
        except ValueError as error:  # an empty one, with lengths beyond what can be counted
            raise ValueError(f"must have a shape that can be, got {self.shape}") from error


def _array_or_numbers(given: Any) -> str:
    return "array" if isinstance(given, (dict, Array)) else "numbers"


def _one_or_many(given: Any) -> str:
    return "many" if isinstance(given, list) else "one"


def _many_or_rows(given: Any) -> str:
    return "rows" if isinstance(given, list) and given and isinstance(given[0], list) else "many"


TAGS = frozenset(("array", "numbers", "one", "many", "rows"))  # which form of a field was read
NUMBERS = {
    "description": "a number, or nested lists of them, all rows alike",
    "anyOf": [
        {"type": "number"},
        {"type": "array", "items": {"$ref": "#/components/schemas/Numbers"}},
    ],
}  # pydantic cannot write it: `serve.app` puts it into the document
# Of any type here: numpy checks it when the space is at hand, and is much faster.
Numbers = TypeAliasType("Numbers", Annotated[Any, WithJsonSchema({"title": "Numbers"})])
Observation = Annotated[
    Annotated[Array, Tag("array")] | Annotated[Numbers, Tag("numbers")],
    Discriminator(_array_or_numbers),
]
_Count = Annotated[int, Field(ge=1)]
Counts = Annotated[
    Annotated[_Count, Tag("one")]
    | Annotated[list[_Count], Field(max_length=MAX_LIST), Tag("many")],
    Discriminator(_one_or_many),
]
Seeds = Annotated[
    Annotated[Seed, Tag("one")] | Annotated[list[Seed], Field(max_length=MAX_LIST), Tag("many")],
    Discriminator(_one_or_many),
]
Actions = Annotated[
    Annotated[list[Action], Field(max_length=MAX_LIST), Tag("many")]
    | Annotated[list[list[Action]], Field(max_length=MAX_LIST), Tag("rows")],
    Discriminator(_many_or_rows),
]


class ActRequest(BaseModel):
    """What to search, and how. Exactly one of `observation` and `observations`."""

    model_config = STRICT

    observation: Observation | None = Field(
        None, description="one: [L, *frame], or a frame [*frame]"
    )
    observations: Observation | None = Field(None, description="many: the same with a leading axis")
    simulations: Counts | None = Field(
        None, description="of each search, or one number per observation"
    )
    legal_actions: Actions | None = Field(
        None, description="allowed actions; for `observations` a list of such lists"
    )
    deterministic: bool = Field(True, description="the search's own action; else drawn from visits")
    temperature: float = Field(
        1.0, gt=0, le=1000, allow_inf_nan=False, description="of the draw: visits**(1/temperature)"
    )
    seed: Seeds | None = Field(
        None, description="breaks ties and draws; one, or one per observation"
    )
    include: list[Include] = Field(
        default_factory=list,
        max_length=16,
        description="what the reply shall tell beside the action",
    )
    deadline_ms: float | None = Field(
        None,
        gt=0,
        le=3.6e6,
        allow_inf_nan=False,
        description="an answer later than this is of no use",
    )
    session_id: str | None = Field(
        None, min_length=1, max_length=128, description="the service keeps the stack of frames"
    )
    reset: bool = Field(False, description="this frame begins an episode")
    step: int | None = Field(None, ge=0, lt=2**53, description="number of the frame in its episode")


class Timing(BaseModel):
    """Milliseconds."""

    queue: float
    search: float
    total: float


class Served(BaseModel):
    """Which weights answered."""

    name: str
    version: int
    step: int = Field(description="environment steps it was trained for")


class ActReply(BaseModel):
    """`action` for one observation, `actions` for many; of the rest what was asked for."""

    action: int | None = None
    actions: list[int] | None = None
    policy: list[Any] | None = Field(None, description="[A]: the search's policy")
    visits: list[Any] | None = Field(None, description="[A]: visit counts")
    value: float | list[float] | None = Field(None, description="a return, in reward units")
    q: list[Any] | None = Field(None, description="[A]: null where never tried")
    principal_variation: list[Any] | None = Field(None, description="the actions expected next")
    simulations: int | list[int]
    seed: int | list[int] | None = Field(None, description="told where the service drew it")
    model: Served
    timing_ms: Timing
    batch_size: int = Field(description="observations searched together")
    request_id: str


class ObservationInfo(BaseModel):
    """The space of observations."""

    shape: list[int] = Field(description="[L, *frame], oldest frame first")
    frame_shape: list[int]
    frame_stack: int
    dtype: str


class ModelInfo(BaseModel):
    """What a client must know of a model."""

    name: str
    version: int
    state: Literal["ready", "loading", "failed"]
    error: str | None = None
    default: bool
    env: str
    observation: ObservationInfo
    actions: dict[str, int]
    preprocessing: dict[str, Any]
    simulations: dict[str, int]
    search: dict[str, Any]
    checkpoint: dict[str, Any]
    evaluation: dict[str, Any] | None
    loaded_at: str
    max_observations: int


class ModelList(BaseModel):
    """Every model of the service."""

    models: list[ModelInfo]


class LoadRequest(BaseModel):
    """Which checkpoint a model shall have from now on."""

    model_config = STRICT

    checkpoint: str = Field(
        min_length=1, max_length=4096, description="a checkpoint's or a run's folder"
    )


class Health(BaseModel):
    """How the service is."""

    status: str


class ErrorInfo(BaseModel):
    """What is wrong, its value, the rule, what to do."""

    code: str
    message: str
    details: dict[str, Any]
    request_id: str


class ErrorReply(BaseModel):
    """The form of every error."""

    error: ErrorInfo

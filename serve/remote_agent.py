"""A served agent as its callers see it: how to ask it for actions.

Nothing in here touches a socket. A `Steps` is a generator that yields what it wants done (`Ask`,
`Dial`, `Say`, `Pause`) and is sent what came of it: `Heard`, `Lost`, or None after a pause.
`client.py` does it with calls that block, `client_async.py` with awaited ones.

Axes: B observations, A actions, L frame_stack.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt

from serve.wire import (
    ActionReply,
    Heard,
    Lost,
    ObservationRefused,
    Outcome,
    Retry,
    ServiceFailed,
    error_of,
    is_passing,
    json_array,
    raw_bytes,
    read_reply,
)

T = TypeVar("T")
LONGEST_QUERY = 4096  # characters; what is longer goes into a body of JSON
PER_OBSERVATION = ("legal_actions", "seed", "simulations")  # one each in a batch


class ActOptions(TypedDict, total=False):
    """How to act; what is not given is the service's default."""

    legal_actions: Sequence[int]  # the allowed ones
    simulations: int
    seed: int  # 0 .. 2**64-1, breaks ties and draws
    deterministic: bool  # False: drawn from the visits
    temperature: float  # of the draw, > 0
    include: Sequence[str]  # "policy", "visits", "value", "q", "principal_variation"
    deadline_ms: float  # then the answer is no longer wanted


class SearchOptions(TypedDict, total=False):
    """How to search a batch of B; what is not given is the service's default."""

    legal: npt.ArrayLike | None  # [B, A] bool, the allowed actions
    seeds: npt.ArrayLike | None  # [B] u64, break ties; default 0 for each
    num_simulations: npt.ArrayLike | None  # [B] integers >= 1
    include: Sequence[str]  # as in `ActOptions`
    deadline_ms: float | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Send an HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def request(self) -> dict[str, Any]:
        """As httpx's `request` takes it."""
        names = {"method": self.method, "url": self.path, "headers": self.headers}
        return {**names, "params": self.params, "content": self.content}


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a WebSocket; what is heard is its first message."""

    url: str  # of the service
    path: str
    headers: Mapping[str, str]

    def request(self) -> dict[str, Any]:
        """As websockets' `connect` takes it; nothing that would let a frame wait."""
        uri = f"ws{self.url.removeprefix('http')}{self.path}"
        quick = {"compression": None, "close_timeout": 1}
        return {"uri": uri, "additional_headers": self.headers, **quick}


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message over the WebSocket; what is heard is the next one."""

    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


Steps = Generator[Ask | Dial | Say | Pause, Any, T]


class Caller:
    """The calls to one model of one service.

    Args:
        url: of the service.
        model: its name; None: the service's default.
        token: sent with every request; None: none is.
        retry_seconds: after which a call that gets no answer is given up.
    """

    def __init__(
        self, url: str, *, model: str | None, token: str | None, retry_seconds: float
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must start with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self._name, self._retry_seconds = model, retry_seconds
        self._authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._info: dict[str, Any] | None = None

    def headers(self) -> dict[str, str]:
        """Of one call: the same for all its attempts."""
        return {**self._authorization, "X-Request-ID": uuid.uuid4().hex}

    def answered(self, attempt: Callable[[], Steps[Outcome]], request_id: str) -> Steps[Heard]:
        """Attempts until there is an answer that another attempt would not change.

        Raises:
            ActionServiceError: it is no good answer, or there is none in time.
        """
        retry = Retry(self._retry_seconds)
        while True:
            outcome = yield from attempt()
            if isinstance(outcome, Heard) and outcome.true_status() == 200:
                return outcome
            pause = retry.pause_after(outcome) if is_passing(outcome) else None
            if pause is None:
                self._info = None  # another model may have come by this name
                raise error_of(outcome, request_id)
            yield Pause(pause)

    def models(self) -> Steps[list[dict[str, Any]]]:
        """What the service tells of each of its models."""
        return list((yield from self._fetched("/v1/models")).get("models", []))

    def model(self) -> Steps[dict[str, Any]]:
        """What it tells of this model; asked for once."""
        if self._info is None:
            if self._name is None:
                entries = yield from self._fetched("/v1/models", needs="models")
                self._name = str(next(m["name"] for m in entries["models"] if m["default"]))
            self._info = yield from self._fetched(self.path())
        return self._info

    def act(self, observation: npt.ArrayLike, options: ActOptions) -> Steps[ActionReply]:
        """The reply for one observation, [L, *frame], or [*frame] where an episode begins."""
        info = yield from self.model()
        array = np.asarray(observation)
        is_frame = list(array.shape) == info["observation"]["frame_shape"]
        array = fitting(array, info, "frame_shape" if is_frame else "shape")
        return (yield from self._reply({"observation": array, **plain(options)}, 1))

    def search(self, observations: npt.ArrayLike, options: SearchOptions) -> Steps[ActionReply]:
        """The reply for observations [B, L, *frame]."""
        info = yield from self.model()
        batch = fitting(np.asarray(observations), info, "shape", is_batch=True)
        fields = batch_fields(options, count=len(batch), num_actions=info["actions"]["n"])
        if len(batch) > 1:
            return (yield from self._reply({"observations": batch, **fields}, len(batch)))
        single = {k: v[0] if k in PER_OBSERVATION else v for k, v in fields.items()}
        return (yield from self._reply({"observation": batch[0], **single}, 1))

    def ask(self, fields: Mapping[str, Any], headers: Mapping[str, str]) -> Ask:
        """The request for actions: bare numbers, or JSON where the query would be too long."""
        params = {k: in_query(v) for k, v in fields.items() if not isinstance(v, np.ndarray)}
        if len(urlencode(params)) > LONGEST_QUERY:
            content, kind, params = in_json(fields).encode(), "application/json", {}
        else:
            (array,) = (v for v in fields.values() if isinstance(v, np.ndarray))
            content, kind = raw_bytes(array), "application/octet-stream"
        headers = {**headers, "Content-Type": kind}
        return Ask("POST", f"{self.path()}/act", headers, params, content)

    def path(self) -> str:
        """Of the model; known once `model` has been asked for."""
        assert self._name is not None, self._name
        return f"/v1/models/{quote(self._name, safe='')}"

    def _reply(self, fields: Mapping[str, Any], count: int) -> Steps[ActionReply]:
        heard = yield from self._heard(self.ask(fields, self.headers()))
        return read_reply(heard, count)

    def _fetched(self, path: str, *, needs: str = "") -> Steps[dict[str, Any]]:
        heard = yield from self._heard(Ask("GET", path, self.headers()), needs=needs)
        if not heard.entries():
            raise ServiceFailed(f"{path} must give a JSON object, got {heard.body[:80]!r}")
        return heard.entries()

    def _heard(self, ask: Ask, *, needs: str = "") -> Steps[Heard]:
        """The answer; as long as its entry `needs` is an empty list the service is not ready."""

        def attempt() -> Steps[Outcome]:
            outcome: Outcome = yield ask
            if isinstance(outcome, Heard) and needs and outcome.entries().get(needs) == []:
                return Lost(f"a service without {needs}")
            return outcome

        return (yield from self.answered(attempt, ask.headers["X-Request-ID"]))


def batch_fields(options: SearchOptions, *, count: int, num_actions: int) -> dict[str, Any]:
    """Options of a batch as the service takes them.

    Raises:
        TypeError: one is unknown.
        ValueError: one has another shape than the batch.
    """
    fields: dict[str, Any] = dict(options)
    mask, seeds = fields.pop("legal", None), fields.pop("seeds", None)
    budgets = fields.pop("num_simulations", None)
    if mask is not None:
        mask = shaped("legal", mask, (count, num_actions))
        fields["legal_actions"] = [np.flatnonzero(row) for row in mask]
    if seeds is not None:
        fields["seed"] = shaped("seeds", seeds, (count,))
    if budgets is not None:
        fields["simulations"] = shaped("num_simulations", budgets, (count,))
    return plain(fields)


def shaped(name: str, given: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """An array of this shape, or ValueError."""
    array = np.asarray(given)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def fitting(
    array: np.ndarray, info: Mapping[str, Any], of: str, *, is_batch: bool = False
) -> np.ndarray:
    """The array in the model's dtype.

    Args:
        of: "shape" (a stack) or "frame_shape"; `is_batch`: with a leading axis.

    Raises:
        ObservationRefused: another shape, or numbers that are not of that kind.
    """
    shape, dtype = tuple(info["observation"][of]), np.dtype(info["observation"]["dtype"])
    got = array.shape[1:] if is_batch else array.shape
    if got != shape or (is_batch and (array.ndim == 0 or len(array) == 0)):
        expected = ("B", *shape) if is_batch else shape
        rule = f"have shape {expected} (frame stack, frame), got {array.shape}"
    elif array.dtype.kind not in "biuf" or (dtype == np.uint8 and array.dtype != np.uint8):
        rule = f"be numbers of {dtype}, got {array.dtype}"
    else:
        return array.astype(dtype, copy=False)
    raise ObservationRefused(f"observation must {rule}", code="invalid_observation")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON takes them, without those that are None; TypeError for unknown ones."""
    known = sorted(ActOptions.__annotations__)
    if unknown := sorted(options.keys() - set(known)):
        raise TypeError(f"options must be among {known}, got {unknown}")
    given = {k: bare(v) for k, v in options.items() if v is not None}
    return {k: v for k, v in given.items() if k != "include" or v}


def bare(value: Any) -> Any:
    """numpy's numbers as Python's, everything that is like a list as a list."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [bare(one) for one in value] if isinstance(value, (list, tuple, set, range)) else value


def in_query(value: Any) -> str:
    """A field as a query parameter: lists by commas, lists of lists by semicolons."""
    if isinstance(value, list):
        joint = ";" if value and isinstance(value[0], list) else ","
        return joint.join(map(in_query, value))
    return value if isinstance(value, str) else json.dumps(value)


def in_json(fields: Mapping[str, Any]) -> str:
    """Fields as a JSON object, arrays in base64."""
    arrays = {k: json_array(v) for k, v in fields.items() if isinstance(v, np.ndarray)}
    return json.dumps({**fields, **arrays})

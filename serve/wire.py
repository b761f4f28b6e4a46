"""What travels between the service and its clients: arrays, answers, errors; when to ask again.

ActionServiceError
├── RequestRefused             4xx: it cannot be had, however often it is asked for
│   └── ObservationRefused     an observation has another shape or dtype than the model's
├── ServiceFailed              the service made a mistake, or its reply cannot be read
└── ServiceUnavailable         busy, starting or gone, for longer than retries may take

It needs numpy alone. Axes: B observations, A actions, D steps of the longest principal variation.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds: bounds of the first pause, and of any
LONGEST_WAIT = 10.0  # seconds; a longer Retry-After is cut to this
# Of errors that come over a WebSocket, where there is a code only; of any other: 400.
STATUS_OF = {
    **dict.fromkeys(("overloaded", "too_many_sessions"), 429),
    **dict.fromkeys(("not_ready", "draining"), 503),
    **dict.fromkeys(("invalid_request", "invalid_observation"), 422),
    **dict.fromkeys(("session_lost", "model_changed"), 409),
    **{"model_not_found": 404, "deadline_exceeded": 408, "internal": 500},
}


def raw_bytes(array: np.ndarray) -> bytes:
    """An array's numbers in C order, little endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def json_array(array: np.ndarray) -> dict[str, Any]:
    """An array (uint8 or float32) as JSON takes it: data (base64), shape, dtype."""
    data = base64.b64encode(raw_bytes(array)).decode("ascii")
    return {"data": data, "shape": list(array.shape), "dtype": array.dtype.name}


class ActionServiceError(Exception):
    """Base: the service did not give what it was asked for."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status  # of HTTP; None: no answer came
        self.code = code  # the service's word for it; None: the answer was not its own
        self.request_id = request_id  # to be found in the service's log
        self.details = dict(details or {})


class RequestRefused(ActionServiceError):
    """The service cannot do this, however often it is asked."""


class ObservationRefused(RequestRefused, ValueError):
    """An observation has another shape or dtype than the model's."""


class ServiceFailed(ActionServiceError):
    """The service made a mistake of its own, or its reply cannot be read."""


class ServiceUnavailable(ActionServiceError):
    """The service was busy, starting or gone, for longer than retries may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReply:
    """What the service says of B observations; None where it was not asked for."""

    action: np.ndarray  # [B] i64, to play
    policy: np.ndarray | None  # [B, A] f32, the search's policy
    visit_counts: np.ndarray | None  # [B, A] i32
    root_value: np.ndarray | None  # [B] f32, a return, in reward units
    q: np.ndarray | None  # [B, A] f32, nan where never tried
    principal_variation: np.ndarray | None  # [B, D] i32, -1 past its end
    num_simulations: np.ndarray  # [B] i64
    seeds: np.ndarray | None  # [B] u64, where the service drew them
    model_name: str
    model_version: int
    model_step: int  # environment steps it was trained for
    timing_ms: dict[str, float]  # queue, search, total
    batch_size: int  # observations that were searched together
    request_id: str

    @property
    def visit_probs(self) -> np.ndarray | None:
        """[B, A] f32, visit counts as shares; rows sum to 1."""
        if self.visit_counts is None:
            return None
        counts = self.visit_counts.astype(np.float32)
        return counts / counts.sum(axis=1, keepdims=True)

    @classmethod
    def from_json(cls, entries: Mapping[str, Any], count: int) -> ActionReply:
        """Reads the reply to `count` observations.

        Raises:
            KeyError, TypeError, ValueError: this is no such reply.
        """
        single = entries.get("actions") is None
        if single and count != 1:
            raise ValueError(f"actions must hold {count} numbers, got none")

        def rows(name: str, dtype: type[np.generic]) -> np.ndarray | None:
            given = entries.get(name)
            return None if given is None else _array([given] if single else given, dtype, count)

        plans = entries.get("principal_variation")
        simulations = np.broadcast_to(np.array(entries["simulations"], np.int64), (count,))
        action = rows("action" if single else "actions", np.int64)
        if action is None:
            raise KeyError("action")
        return cls(
            action=action,
            policy=rows("policy", np.float32),
            visit_counts=rows("visits", np.int32),
            root_value=rows("value", np.float32),
            q=rows("q", np.float32),
            principal_variation=None if plans is None else _padded([plans] if single else plans),
            num_simulations=simulations,
            seeds=rows("seed", np.uint64),
            model_name=str(entries["model"]["name"]),
            model_version=int(entries["model"]["version"]),
            model_step=int(entries["model"]["step"]),
            timing_ms=dict(entries["timing_ms"]),
            batch_size=int(entries["batch_size"]),
            request_id=str(entries["request_id"]),
        )


def _array(given: list[Any], dtype: type[np.generic], count: int) -> np.ndarray:
    array = np.array(given, dtype)  # null becomes nan where dtype is a float
    if len(array) != count:
        raise ValueError(f"reply must hold {count} rows, got {len(array)}")
    return array


def _padded(plans: list[list[int]]) -> np.ndarray:
    padded = np.full((len(plans), max(map(len, plans))), -1, np.int32)
    for row, plan in zip(padded, plans, strict=True):
        row[: len(plan)] = plan
    return padded


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer; over a WebSocket its status is 200."""

    status: int
    headers: Mapping[str, str]  # names in lower case, if case matters to it
    body: str | bytes

    def entries(self) -> dict[str, Any]:
        """The body's JSON object; empty if it holds none."""
        try:
            entries = json.loads(self.body)
        except ValueError:
            return {}
        return entries if isinstance(entries, dict) else {}

    def error(self) -> dict[str, Any]:
        """What the service says is wrong; empty if nothing is, or if these are not its words."""
        error = self.entries().get("error")
        return error if isinstance(error, dict) and "code" in error else {}

    def code(self) -> str | None:
        """The service's word for what is wrong."""
        return self.error().get("code")

    def true_status(self) -> int:
        """HTTP's status, over a WebSocket too."""
        code = self.code()
        return STATUS_OF.get(code, 400) if code and self.status == 200 else self.status


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the connection could not be had, or broke."""

    reason: str
    may_come_back: bool = True


Outcome = Heard | Lost


def failure(error: Exception) -> Outcome:
    """What an exception of httpx or websockets means; a handshake that was refused is an answer."""
    response = getattr(error, "response", None)
    if response is not None:
        return Heard(response.status_code, response.headers, response.body or b"")
    ours = type(error).__name__ in ("LocalProtocolError", "InvalidURI")
    return Lost(f"{type(error).__name__}: {error}", may_come_back=not ours)


def is_passing(outcome: Outcome) -> bool:
    """Whether what went wrong may be over when the same is asked again."""
    if isinstance(outcome, Lost):
        return outcome.may_come_back
    if outcome.true_status() == 500:  # a balancer's word for a dead replica, if not our own
        return outcome.code() is None
    return outcome.true_status() in (429, 502, 503, 504)


class Retry:
    """How long to pause before the next attempt; exponential, with full jitter.

    Args:
        seconds: for all attempts together.
        draw: a number between two.

    Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._draw = clock, draw
        self._end, self._pauses = clock() + seconds, 0

    def pause_after(self, outcome: Outcome) -> float | None:
        """Seconds to wait; None: it is time to give up."""
        left = self._end - self._clock()
        asked = min(retry_after(outcome), LONGEST_WAIT)
        if left <= 0 or asked > left:
            return None
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._pauses, 10))
        self._pauses += 1
        return min(asked + self._draw(0.0, longest), left)


def retry_after(outcome: Outcome) -> float:
    """Seconds that the service asks for; 0 if it asks for none."""
    if isinstance(outcome, Lost):
        return 0.0
    try:
        return max(0.0, float(outcome.headers.get("retry-after", 0)))
    except ValueError:  # a date, which our service never sends
        return 0.0


def error_of(outcome: Outcome, request_id: str) -> ActionServiceError:
    """What went wrong, to be raised."""
    if isinstance(outcome, Lost):
        lost = ServiceUnavailable if outcome.may_come_back else RequestRefused
        return lost(f"the service must answer, got {outcome.reason}", request_id=request_id)
    status, error = outcome.true_status(), outcome.error()
    kind: type[ActionServiceError]
    code = error.get("code")
    if is_passing(outcome):
        kind = ServiceUnavailable
    elif 400 <= status < 500:
        kind = ObservationRefused if code == "invalid_observation" else RequestRefused
    else:
        kind = ServiceFailed
    return kind(
        str(error.get("message") or f"the service must answer in its own words, got HTTP {status}"),
        status=status,
        code=code,
        request_id=str(error.get("request_id") or request_id),
        details=error.get("details"),
    )


def read_reply(heard: Heard, count: int) -> ActionReply:
    """The reply to `count` observations.

    Raises:
        ServiceFailed: it is none.
    """
    try:
        return ActionReply.from_json(heard.entries(), count)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceFailed(
            f"the reply must be as /openapi.json tells, got {type(error).__name__}: {error}",
            status=heard.status,
        ) from error

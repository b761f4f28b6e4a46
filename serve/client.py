"""Calls an action service.

from serve.client import ActionClient

with ActionClient("http://localhost:8000") as client:
    action = client.act(observation)

`AsyncActionClient` does the same with `await`.
It needs numpy and httpx, for `play` websockets as well: no Ray, no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import numpy.typing as npt

from serve.client_async import AsyncActionClient
from serve.conversation import PlaySteps, SessionSteps
from serve.remote_agent import ActOptions, Ask, Caller, Dial, Pause, Say, SearchOptions, Steps
from serve.wire import (
    ActionReply,
    ActionServiceError,
    Heard,
    ObservationRefused,
    Outcome,
    RequestRefused,
    ServiceFailed,
    ServiceUnavailable,
    failure,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "ActionClient",
    "ActionReply",
    "ActionServiceError",
    "AsyncActionClient",
    "Conversation",
    "ObservationRefused",
    "RequestRefused",
    "ServiceFailed",
    "ServiceUnavailable",
]

T = TypeVar("T")
Do = Callable[[Any], "Outcome | None"]  # carries out what a `Steps` yields


class ActionClient:
    """One model of a service. `act` and `search` as of `rllib_ez.Agent`. Safe to use by threads.

    Args:
        url: of the service, as "http://localhost:8000".
        model: its name; None: the service's default.
        token: where the service asks for one.
        timeout: seconds for one attempt.
        retry_seconds: for all attempts of one call: connections that cannot be had or break, a
            service that is busy, starts or is replaced. 0: one attempt.
        transport: in place of the network, for tests.

    Raises of every call:
        RequestRefused: what was asked for cannot be had (4xx).
        ServiceFailed: the service made a mistake (500).
        ServiceUnavailable: `retry_seconds` have passed without an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._caller = Caller(url, model=model, token=token, retry_seconds=retry_seconds)
        self._timeout = timeout
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport)

    def __enter__(self) -> ActionClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of its connections."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What the service tells of each of its models, the default one first."""
        return carried_out(self._caller.models(), self._do)

    def model(self) -> dict[str, Any]:
        """What it tells of this model: spaces, preprocessing, simulations, checkpoint, score."""
        return carried_out(self._caller.model(), self._do)

    def act(self, observation: npt.ArrayLike, **options: Unpack[ActOptions]) -> int:
        """The action for one observation.

        Args:
            observation: [L, *frame], or [*frame] where the episode has just begun (fills the
                stack). uint8 for pixels.
            options: see `ActOptions`.

        Raises:
            ObservationRefused: another shape or dtype, or numbers that are not finite.
        """
        reply = carried_out(self._caller.act(observation, options), self._do)
        return int(reply.action[0])

    def search(self, observations: npt.ArrayLike, **options: Unpack[SearchOptions]) -> ActionReply:
        """Searches a batch.

        Args:
            observations: [B, L, *frame].
            options: see `SearchOptions`: legal, seeds, num_simulations, include, deadline_ms.

        Raises:
            ObservationRefused: another shape or dtype, or numbers that are not finite.
            ValueError: an option has not one row for each observation.
        """
        return carried_out(self._caller.search(observations, options), self._do)

    def session(self) -> Conversation:
        """One episode after the other, a frame at a time; the service keeps the stack."""
        return Conversation(SessionSteps(self._caller), self._do, self._timeout)

    def play(self) -> Conversation:
        """The same over a WebSocket. ImportError where `websockets` is not installed."""
        return Conversation(PlaySteps(self._caller), self._do, self._timeout)

    def _do(self, effect: Ask | Pause) -> Outcome | None:
        if isinstance(effect, Pause):
            time.sleep(effect.seconds)
            return None
        try:
            answer = self._http.request(**effect.request())
        except httpx.TransportError as error:
            return failure(error)
        return Heard(answer.status_code, answer.headers, answer.content)


def carried_out(steps: Steps[T], do: Do) -> T:
    """Does what the steps want done, until their result is there."""
    outcome: Outcome | None = None
    while True:
        try:
            effect = steps.send(outcome)
        except StopIteration as end:
            return end.value
        outcome = do(effect)


class Conversation:
    """Plays episodes a frame at a time; whatever breaks in between is mended. For one thread.

    The service keeps the newest L frames, and so does this: where the service has lost them, it
    is sent the whole stack.
    """

    def __init__(self, steps: SessionSteps | PlaySteps, do: Do, timeout: float) -> None:
        self._steps, self._ask, self._timeout = steps, do, timeout
        self._socket: Any = None

    def __enter__(self) -> Conversation:
        carried_out(self._steps.opened(), self._do)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the service tells of the model."""
        return self._steps.metadata

    def act(
        self, frame: npt.ArrayLike, *, reset: bool = False, **options: Unpack[ActOptions]
    ) -> int:
        """The action for the next frame [*frame]; `reset` at an episode's first."""
        return int(self.search(frame, reset=reset, **options).action[0])

    def search(
        self, frame: npt.ArrayLike, *, reset: bool = False, **options: Unpack[ActOptions]
    ) -> ActionReply:
        """The whole reply for the next frame."""
        return carried_out(self._steps.act(frame, options, reset=reset), self._do)

    def _do(self, effect: Ask | Dial | Say | Pause) -> Outcome | None:
        if isinstance(effect, (Ask, Pause)):
            return self._ask(effect)
        from websockets import WebSocketException
        from websockets.sync.client import connect

        try:
            if isinstance(effect, Dial):
                self.close()
                line = connect(**effect.request(), open_timeout=self._timeout)
                self._socket = line.__enter__()  # `close` leaves it, at any later time
            else:
                self._socket.send(effect.text)
            return Heard(200, {}, self._socket.recv(self._timeout))
        except (WebSocketException, OSError) as error:
            self.close()
            return failure(error)

"""Calls an action service with `await`; how both clients play frame by frame.

from serve.client_async import AsyncActionClient

async with AsyncActionClient("http://localhost:8000") as client:
    action = await client.act(observation)
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import numpy as np
import numpy.typing as npt

from serve.remote_agent import (
    ActOptions,
    Ask,
    Caller,
    Dial,
    Pause,
    Say,
    SearchOptions,
    Steps,
    fitting,
    in_json,
    plain,
)
from serve.wire import ActionReply, Heard, Lost, Outcome, failure, read_reply

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
MENDED_BY_A_STACK = ("session_lost", "too_many_sessions")


class AsyncActionClient:
    """`ActionClient` with `await`; for many calls at a time on one event loop."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._caller = Caller(url, model=model, token=token, retry_seconds=retry_seconds)
        self._timeout = timeout
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport)

    async def __aenter__(self) -> AsyncActionClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Lets go of its connections."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """See `ActionClient.models`."""
        return await carried_out(self._caller.models(), self._do)

    async def model(self) -> dict[str, Any]:
        """See `ActionClient.model`."""
        return await carried_out(self._caller.model(), self._do)

    async def act(self, observation: npt.ArrayLike, **options: Unpack[ActOptions]) -> int:
        """See `ActionClient.act`."""
        reply = await carried_out(self._caller.act(observation, options), self._do)
        return int(reply.action[0])

    async def search(
        self, observations: npt.ArrayLike, **options: Unpack[SearchOptions]
    ) -> ActionReply:
        """See `ActionClient.search`."""
        return await carried_out(self._caller.search(observations, options), self._do)

    def session(self) -> AsyncConversation:
        """See `ActionClient.session`."""
        return AsyncConversation(SessionSteps(self._caller), self._do, self._timeout)

    def play(self) -> AsyncConversation:
        """See `ActionClient.play`."""
        return AsyncConversation(PlaySteps(self._caller), self._do, self._timeout)

    async def _do(self, effect: Ask | Pause) -> Outcome | None:
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds, None)
        try:
            answer = await self._http.request(**effect.request())
        except httpx.TransportError as error:
            return failure(error)
        return Heard(answer.status_code, answer.headers, answer.content)


async def carried_out(steps: Steps[T], do: Callable[[Any], Awaitable[Outcome | None]]) -> T:
    """Does what the steps want done, until their result is there."""
    outcome: Outcome | None = None
    while True:
        try:
            effect = steps.send(outcome)
        except StopIteration as end:
            return end.value
        outcome = await do(effect)


class AsyncConversation:
    """`serve.client.Conversation` with `await`."""

    def __init__(
        self,
        steps: SessionSteps | PlaySteps,
        do: Callable[[Any], Awaitable[Outcome | None]],
        timeout: float,
    ) -> None:
        self._steps, self._ask, self._timeout = steps, do, timeout
        self._socket: Any = None

    async def __aenter__(self) -> AsyncConversation:
        await carried_out(self._steps.opened(), self._do)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hangs up."""
        if self._socket is not None:
            await self._socket.close()
        self._socket = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the service tells of the model."""
        return self._steps.metadata

    async def act(
        self, frame: npt.ArrayLike, *, reset: bool = False, **options: Unpack[ActOptions]
    ) -> int:
        """See `serve.client.Conversation.act`."""
        return int((await self.search(frame, reset=reset, **options)).action[0])

    async def search(
        self, frame: npt.ArrayLike, *, reset: bool = False, **options: Unpack[ActOptions]
    ) -> ActionReply:
        """See `serve.client.Conversation.search`."""
        return await carried_out(self._steps.act(frame, options, reset=reset), self._do)

    async def _do(self, effect: Ask | Dial | Say | Pause) -> Outcome | None:
        if isinstance(effect, (Ask, Pause)):
            return await self._ask(effect)
        from websockets import WebSocketException
        from websockets.asyncio.client import connect

        try:
            if isinstance(effect, Dial):
                await self.aclose()
                self._socket = await connect(**effect.request(), open_timeout=self._timeout)
            else:
                await self._socket.send(effect.text)
            return Heard(200, {}, await asyncio.wait_for(self._socket.recv(), self._timeout))
        except (WebSocketException, OSError, asyncio.TimeoutError) as error:
            await self.aclose()
            return failure(error)


class _Frames:
    """The newest L frames of an episode, and whether the service has them as well."""

    def __init__(self) -> None:
        self._stack: np.ndarray | None = None  # [L, *frame] u8 or f32
        self.is_behind = False  # the service may lack frames

    def after(
        self, frame: npt.ArrayLike, info: Mapping[str, Any], *, reset: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The frame [*frame] and the stack [L, *frame] it ends; remembered by `keep` only."""
        newest = fitting(np.asarray(frame), info, "frame_shape")
        if reset:
            return newest, np.repeat(newest[None], info["observation"]["frame_stack"], axis=0)
        if self._stack is None:
            raise ValueError("reset must be True at an episode's first frame, got False")
        return newest, np.concatenate((self._stack[1:], newest[None]))

    def keep(self, stack: np.ndarray) -> None:
        """The service has answered to this stack."""
        self._stack, self.is_behind = stack, False

    def attempt(self, forms: Sequence[Ask | Say]) -> Steps[Outcome]:
        """Sends the frame; if that is not enough, or was tried before, the forms that follow."""
        for form in forms[self.is_behind :]:
            self.is_behind = True  # until it is answered
            outcome: Outcome = yield form
            if isinstance(outcome, Lost) or outcome.code() not in MENDED_BY_A_STACK:
                break
        return outcome


class SessionSteps:
    """Frames one by one over HTTP.

    Steps are counted on over episodes, so that a replica which still holds an earlier one cannot
    take a frame of this one for its next.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller, self._frames = caller, _Frames()
        self._id, self._step = uuid.uuid4().hex, -1
        self.metadata: dict[str, Any] = {}

    def opened(self) -> Steps[None]:
        """Asks what the frames must be."""
        self.metadata = yield from self._caller.model()

    def act(self, frame: npt.ArrayLike, options: ActOptions, *, reset: bool) -> Steps[ActionReply]:
        """The reply to the next frame [*frame]."""
        yield from self.opened()
        newest, stack = self._frames.after(frame, self.metadata, reset=reset)
        self._step += 1
        session = {"session_id": self._id, "step": self._step, **plain(options)}
        begins = {"reset": True} if reset else {}
        headers = self._caller.headers()
        forms = [
            self._caller.ask({"observation": newest, **session, **begins}, headers),
            self._caller.ask({"observation": stack, **session}, headers),
            self._caller.ask({"observation": stack, **plain(options)}, headers),
        ]
        attempt = partial(self._frames.attempt, forms)
        heard = yield from self._caller.answered(attempt, headers["X-Request-ID"])
        self._frames.keep(stack)
        return read_reply(heard, 1)


class PlaySteps:
    """Frames one by one over a WebSocket, dialled again when it breaks."""

    def __init__(self, caller: Caller) -> None:
        if find_spec("websockets") is None:
            raise ImportError("play() needs websockets: pip install websockets")
        self._caller, self._frames = caller, _Frames()
        self._is_open = False
        self.metadata: dict[str, Any] = {}

    def opened(self) -> Steps[None]:
        """Dials; the metadata is the first message."""
        yield from self._caller.model()  # tells why, where a handshake would only be refused
        headers = self._caller.headers()
        yield from self._caller.answered(partial(self._dialled, headers), headers["X-Request-ID"])

    def act(self, frame: npt.ArrayLike, options: ActOptions, *, reset: bool) -> Steps[ActionReply]:
        """The reply to the next frame [*frame]."""
        if not self.metadata:
            yield from self.opened()
        newest, stack = self._frames.after(frame, self.metadata, reset=reset)
        begins = {"reset": True} if reset else {}
        forms = [
            Say(in_json({"observation": newest, **begins, **plain(options)})),
            Say(in_json({"observation": stack, **plain(options)})),
        ]
        headers = self._caller.headers()
        attempt = partial(self._said, forms, headers)
        heard = yield from self._caller.answered(attempt, headers["X-Request-ID"])
        self._frames.keep(stack)
        return read_reply(heard, 1)

    def _said(self, forms: Sequence[Say], headers: Mapping[str, str]) -> Steps[Outcome]:
        if not self._is_open:
            outcome = yield from self._dialled(headers)
            if not self._is_open:
                return outcome
        outcome = yield from self._frames.attempt(forms)
        self._is_open = isinstance(outcome, Heard)
        return outcome

    def _dialled(self, headers: Mapping[str, str]) -> Steps[Outcome]:
        self._frames.is_behind = True  # a connection begins with an empty stack
        outcome: Outcome = yield Dial(self._caller.url, f"{self._caller.path()}/play", headers)
        if isinstance(outcome, Heard) and "model" in outcome.entries():
            self.metadata, self._is_open = outcome.entries()["model"], True
        elif isinstance(outcome, Heard) and not outcome.code():
            # A refused handshake carries no reason, HTTP does.
            told: Outcome = yield Ask("GET", self._caller.path(), headers)
            is_well = isinstance(told, Heard) and told.status == 200
            return Lost(f"a WebSocket refused with HTTP {outcome.status}") if is_well else told
        return outcome

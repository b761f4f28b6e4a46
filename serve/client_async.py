"""Calls an action service with `await`.

from serve.client_async import AsyncActionClient

async with AsyncActionClient("http://localhost:8000") as client:
    action = await client.act(observation)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import numpy.typing as npt

from serve.conversation import PlaySteps, SessionSteps
from serve.remote_agent import (
    ActOptions,
    Ask,
    Caller,
    Dial,
    Pause,
    Say,
    SearchOptions,
    Steps,
)
from serve.wire import ActionReply, Heard, Outcome, failure

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


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

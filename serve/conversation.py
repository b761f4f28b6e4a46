"""Playing frame by frame, in a session over HTTP or over a WebSocket: what to send, and when again.

Like `remote_agent` it touches no socket; both clients carry out its steps. Axes: L frame_stack.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.remote_agent import (
    ActOptions,
    Ask,
    Caller,
    Dial,
    Say,
    Steps,
    fitting,
    in_json,
    plain,
)
from serve.wire import ActionReply, Heard, Lost, Outcome, read_reply

MENDED_BY_A_STACK = ("session_lost", "too_many_sessions")


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

"""Frame stacks kept for clients that send one frame at a time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serve.errors import Conflict, Overloaded


@dataclass(slots=True)
class Session:
    """One client's episode."""

    stack: np.ndarray  # [L, *frame], replaced and never written to
    step: int  # of its newest frame
    used: float  # clock
    before: tuple[np.ndarray, int] | None = None  # stack and step until the newest frame came


class Sessions:
    """The sessions of one model: a bounded number, each forgotten when idle for long.

    Args:
        max_sessions: a new one beyond is refused.
        idle_seconds: then a session is forgotten.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._idle, self._clock = max_sessions, idle_seconds, clock
        self._kept: OrderedDict[str, Session] = OrderedDict()  # the one used last is last

    def __len__(self) -> int:
        return len(self._kept)

    def open(self, key: str, stack: np.ndarray, *, step: int | None) -> np.ndarray:
        """Begins, or restores, a session with a whole stack [L, *frame], and returns it."""
        self._expire()
        if key not in self._kept and len(self._kept) >= self._most:
            longest = next(iter(self._kept.values()))
            raise Overloaded(
                f"at most {self._most} sessions may be open, and all are in use: send whole "
                "stacks without session_id, or try later",
                code="too_many_sessions",
                retry_after=longest.used + self._idle - self._clock(),
            )
        self._kept[key] = Session(stack, step or 0, self._clock())
        self._kept.move_to_end(key)
        return stack

    def push(self, key: str, frame: np.ndarray, *, step: int | None) -> np.ndarray:
        """Takes in the next frame [*frame]; the stack [L, *frame] that it ends.

        The newest step sent again changes nothing: a client that lost the answer may repeat it.

        Raises:
            Conflict: no such session, or a step that does not follow.
        """
        self._expire()
        session = self._kept.get(key)
        if session is None:
            raise lost(f"session {key!r} is not known here")
        following = session.step + 1
        if step is not None and step not in (session.step, following):
            raise lost(f"step must be {session.step} again or {following}, got {step}")
        session.used = self._clock()
        self._kept.move_to_end(key)
        if step == session.step:
            session.before = None  # who repeats steps needs nothing taken back
        else:
            session.before = (session.stack, session.step)
            session.stack = np.concatenate((session.stack[1:], frame[None]))
            session.step = following
        return session.stack

    def take_back(self, key: str, stack: np.ndarray) -> None:
        """The newest frame was not answered: the client will send it again.

        Args:
            key: of the session.
            stack: what `push` returned for that frame, or a view of it.
        """
        session = self._kept.get(key)
        if session is None or session.before is None:
            return
        if np.may_share_memory(session.stack, stack):  # else a newer frame has come
            (session.stack, session.step), session.before = session.before, None

    def close(self, key: str) -> None:
        """Forgets a session; one that is not there is fine."""
        self._kept.pop(key, None)

    def _expire(self) -> None:
        oldest = self._clock() - self._idle
        while self._kept and next(iter(self._kept.values())).used < oldest:
            self._kept.popitem(last=False)


def lost(why: str) -> Conflict:
    """The client must send the whole stack."""
    return Conflict(
        f"{why}: send the whole stack [L, *frame], or a first frame with reset",
        code="session_lost",
    )

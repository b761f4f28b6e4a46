"""Ctrl-C, SIGTERM and a time limit as a wish: a round is finished first, an evaluation is not."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType, TracebackType
from typing import Any

from cli.errors import INTERRUPTED
from rllib_ez.runs.stop import Stopped

EXIT_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 0}


class StopRequest:
    """While entered, remembers the first signal; a second Ctrl-C stops at once.

    Args:
        deadline: on time.monotonic; from then on it is wanted, too.
    """

    def __init__(self, *, deadline: float = math.inf) -> None:
        self._deadline = deadline
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int:
        """What the process should end with; 0 if nobody asked to stop, or the time was up."""
        return EXIT_CODES[self.signal] if self.signal else 0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody asked to stop, or the time is up."""
        return self.signal is not None or time.monotonic() >= self._deadline

    def check(self) -> None:
        """Raises Stopped if somebody asked to stop."""
        if self.is_wanted:
            raise Stopped

    def __enter__(self) -> StopRequest:
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

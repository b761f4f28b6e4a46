"""The wish to stop a run. Loads no Ray: a service says where Ray listens before it is loaded."""

from __future__ import annotations

from typing import Protocol


class Stopped(Exception):
    """Somebody asked to stop while something was done that need not be finished."""


class Stop(Protocol):
    """A wish to stop: the round is finished first, an evaluation is not."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody asked to stop."""

    def check(self) -> None:
        """Raises Stopped if somebody did."""

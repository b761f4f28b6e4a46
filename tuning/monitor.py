"""Where trials say how they stand between two rows, and hear that the sweep is to stop."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayError

EVERY_SECONDS = 1.0  # a trial tells about so often


@ray.remote(num_cpus=0, max_concurrency=1)
class Monitor:
    """An actor beside the driver."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Any]] = {}
        self._is_stopping = False

    def tell(self, name: str, status: dict[str, Any]) -> bool:
        """Takes in how a trial stands; returns whether it is to save and stop."""
        self._told[name] = status
        return self._is_stopping

    def read(self) -> dict[str, dict[str, Any]]:
        """How the trials stand, by name."""
        return self._told

    def stop(self) -> None:
        """From now on trials hear that they are to save and stop."""
        self._is_stopping = True


class Reporter:
    """A trial's end of it: never waits, and outlives the monitor."""

    def __init__(self, monitor: Any, name: str) -> None:
        self._monitor, self._name = monitor, name
        self._answer: Any = None
        self._told_at = -EVERY_SECONDS
        self.is_wanted = False  # that the trial stops

    def tell(self, status: dict[str, Any], *, now: bool = False) -> None:
        """Passes the status on, about once a second; takes in an answer that has come."""
        self._listen()
        if self._monitor is None or self._answer is not None:
            return
        if now or time.monotonic() - self._told_at >= EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._answer = self._monitor.tell.remote(self._name, status)

    def _listen(self) -> None:
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return
        try:
            self.is_wanted = bool(ray.get(self._answer))
        except RayError:  # it died with the driver's node, or is on its way back
            self._monitor = None
        self._answer = None

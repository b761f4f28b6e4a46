"""Where the time goes, by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageClock:
    """Adds up wall-clock seconds under names. Stages must not nest."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what passes inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def add_seconds(total: dict[str, float], more: Mapping[str, float]) -> None:
    """Adds seconds under the same names."""
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds

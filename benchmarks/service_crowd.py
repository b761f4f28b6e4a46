"""Clients that ask a service without a pause, and note when each answer came."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from serve.load_connection import Address, Connection
from serve.loadtest import LoadSettings, requests_to


class Crowd:
    """Clients in a thread of their own that ask without a pause and without retries."""

    def __init__(self, settings: LoadSettings, info: dict[str, Any], clients: int) -> None:
        self._address = Address.of(settings.url)
        self._requests = requests_to(self._address, settings, info)
        self._clients, self._is_over = clients, False
        self.done: list[tuple[float, float]] = []  # when it was answered with 200, seconds taken
        self.failed: list[tuple[float, str]] = []  # when, and how
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(i) for i in range(self._clients)))

    async def _client(self, number: int) -> None:
        connection = Connection(self._address, 60.0)
        while not self._is_over:
            begun = time.perf_counter()
            try:
                status, _ = await connection.ask(self._requests[number % len(self._requests)])
            except OSError as error:
                self.failed.append((time.perf_counter(), type(error).__name__))
                await asyncio.sleep(0.02)
                continue
            now = time.perf_counter()
            if status == 200:
                self.done.append((now, now - begun))
            else:
                self.failed.append((now, str(status)))
                await asyncio.sleep(0.02)
        connection.close()

    def summary(self, since: float = 0.0, until: float = float("inf")) -> dict[str, Any]:
        """Counts, latencies and the longest time without any answer, in a span of time."""
        done = [(t, s) for t, s in self.done if since <= t <= until]
        latency = np.array([s for _, s in done] or [np.nan])
        moments = np.sort([t for t, _ in done])
        return {
            "answered": len(done),
            "failed": dict(Counter(how for t, how in self.failed if since <= t <= until)),
            "p50_ms": 1000 * float(np.median(latency)),
            "p99_ms": 1000 * float(np.percentile(latency, 99)),
            "max_ms": 1000 * float(latency.max()),
            "longest_gap_ms": 1000 * float(np.diff(moments).max()) if len(moments) > 1 else None,
        }

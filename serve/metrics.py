"""What Prometheus can read at /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from serve.batcher import BatchRecord

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters and histograms of one replica."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry}
        self._requests = Counter(
            "ez_requests", "Requests by outcome", ("model", "route", "code"), **own
        )
        self._seconds = Histogram(
            "ez_request_seconds", "From header to reply", ("model",), buckets=SECONDS, **own
        )
        self._queue = Histogram(
            "ez_queue_seconds", "Waiting for the device", ("model",), buckets=SECONDS, **own
        )
        self._search = Histogram(
            "ez_search_seconds", "A batch on the device", ("model",), buckets=SECONDS, **own
        )
        self._sizes = Histogram(
            "ez_batch_observations", "Searched together", ("model",), buckets=SIZES, **own
        )
        self._cpu = Counter("ez_search_cpu_seconds", "CPU of the device's thread", **own)
        self._reloads = Counter("ez_reloads", "Checkpoints taken in", ("model", "outcome"), **own)

    def request(self, *, model: str, route: str, code: int, seconds: float) -> None:
        """A request is over."""
        self._requests.labels(model, route, str(code)).inc()
        self._seconds.labels(model).observe(seconds)

    def batch(self, record: BatchRecord) -> None:
        """A batch is over."""
        self._sizes.labels(record.lane).observe(record.batch_size)
        self._search.labels(record.lane).observe(record.search_seconds)
        self._cpu.inc(record.cpu_seconds)
        waits = self._queue.labels(record.lane)
        for seconds in record.queue_seconds:
            waits.observe(seconds)

    def reload(self, name: str, outcome: str) -> None:
        """A checkpoint was "loaded", or "failed" to."""
        self._reloads.labels(name, outcome).inc()

    def watch(self, service: Any) -> None:
        """Also tells what is read from a `Service` when asked."""
        self.registry.register(Present(service))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)


class Present:
    """What is so at this moment."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def collect(self) -> Iterator[Any]:
        """Gauges, and the CPU seconds of the process."""
        batcher, roster = self._service.batcher, self._service.roster
        yield GaugeMetricFamily("ez_queued_observations", "Waiting now", value=batcher.queued)
        yield CounterMetricFamily(
            "ez_process_cpu_seconds", "CPU of the replica", value=time.process_time()
        )
        sessions = GaugeMetricFamily("ez_sessions", "Open sessions", labels=["model"])
        info = GaugeMetricFamily(
            "ez_model_info", "What is served", labels=["model", "version", "step"]
        )
        for name, seat in roster.seats.items():
            sessions.add_metric([name], len(seat.sessions))
            if seat.current is not None:
                step = str(seat.current.card.num_env_steps)
                info.add_metric([name, str(seat.current.version), step], 1)
        yield sessions
        yield info

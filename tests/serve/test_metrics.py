from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.batcher import BatchRecord
from serve.metrics import Metrics
from serve.schema import ActRequest


def samples(metrics: Metrics) -> dict[tuple[Any, ...], float]:
    """(name, values of its labels by the labels' names ...): value."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_requests_are_counted_by_outcome(metrics: Metrics):
    for code in (200, 200, 429):
        metrics.request(model="m", route="/v1/act", code=code, seconds=0.03)
    found = samples(metrics)
    assert found["ez_requests_total", "200", "m", "/v1/act"] == 2
    assert found["ez_requests_total", "429", "m", "/v1/act"] == 1
    assert found["ez_request_seconds_count", "m"] == 3
    assert found["ez_request_seconds_sum", "m"] == pytest.approx(0.09)
    assert found["ez_request_seconds_bucket", "0.02", "m"] == 0
    assert found["ez_request_seconds_bucket", "0.05", "m"] == 3


def test_batches_tell_size_time_and_waits(metrics: Metrics):
    metrics.batch(BatchRecord("m", 12, 0.2, 0.15, [0.1, 0.0, 0.3]))
    metrics.batch(BatchRecord("other", 1, 0.1, 0.05, [0.0]))
    found = samples(metrics)
    assert found["ez_batch_observations_sum", "m"] == 12
    assert found["ez_search_seconds_sum", "m"] == pytest.approx(0.2)
    assert found["ez_queue_seconds_count", "m"] == 3
    assert found["ez_queue_seconds_sum", "m"] == pytest.approx(0.4)
    assert found[("ez_search_cpu_seconds_total",)] == pytest.approx(0.2)


def test_reloads_are_counted_by_outcome(metrics: Metrics):
    for outcome in ("loaded", "failed", "failed"):
        metrics.reload("m", outcome)
    found = samples(metrics)
    assert found["ez_reloads_total", "m", "loaded"] == 1
    assert found["ez_reloads_total", "m", "failed"] == 2


def test_a_name_of_any_kind_leaves_the_text_readable(metrics: Metrics):
    metrics.request(model='a"b\n\\', route="/{name}", code=200, seconds=0.1)
    assert samples(metrics)["ez_requests_total", "200", 'a"b\n\\', "/{name}"] == 1


def test_a_service_tells_what_it_serves(started_service: Callable[..., Any]):
    async def scenario() -> dict[tuple[Any, ...], float]:
        async with started_service() as service:
            request = ActRequest(observation=[0.0] * 4, session_id="s", reset=True)
            await service.act("vector", request)
            return samples(service.metrics)

    found = asyncio.run(scenario())
    assert found["ez_model_info", "vector", "100", "1"] == 1
    assert found["ez_model_info", "pixel", "100", "1"] == 1
    assert found["ez_sessions", "vector"] == 1
    assert found["ez_sessions", "pixel"] == 0
    assert found[("ez_queued_observations",)] == 0
    assert found["ez_batch_observations_count", "vector"] == 1
    assert found["ez_reloads_total", "vector", "loaded"] == 1
    assert 0 < found[("ez_search_cpu_seconds_total",)] < found[("ez_process_cpu_seconds_total",)]

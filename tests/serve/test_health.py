"""Alive, ready, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serve.app import build_app
from serve.service import Service
from serve.settings import ServiceSettings
from tests.serve.agents import HereBoard
from tests.serve.apps import Served, error_of, serving

GOOD = {"observation": [0, 0, 0, 0]}


@pytest.fixture
def served(vector_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent}) as one:
        yield one


def samples(served: Served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of /metrics, as Prometheus reads it."""
    got = served.client.get("/metrics")
    assert got.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(got.text)
        for sample in family.samples
    }


def requests_of(found: dict[Any, float]) -> dict[tuple[str, str, str], float]:
    """(model, route, code): how many."""
    return {
        (dict(labels)["model"], dict(labels)["route"], dict(labels)["code"]): value
        for (name, labels), value in found.items()
        if name == "ez_requests_total"
    }


def test_a_service_is_not_ready_before_its_models_are_loaded():
    service = Service(ServiceSettings.of({"access_log": False}), HereBoard())
    client = TestClient(build_app(service))
    assert error_of(client.get("/readyz"), 503)["code"] == "not_ready"
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/v2/health/live").status_code == 200


def test_a_service_with_its_models_is_ready(served: Served):
    assert served.client.get("/readyz").json() == {"status": "ready"}
    assert served.client.get("/v2/health/ready").status_code == 200


def test_a_model_that_cannot_be_loaded_keeps_it_from_being_ready(
    vector_agent: Path, tmp_path: Path
):
    with serving({"vector": vector_agent, "none": tmp_path}) as served:
        error = error_of(served.client.get("/readyz"), 503)
        assert error["details"] == {"models": {"vector": "ready", "none": "failed"}}
        assert served.act(GOOD).status_code == 200
        assert error_of(served.act(GOOD, model="none"), 503)["code"] == "not_ready"
        index = served.client.post("/v2/repository/index").json()
        assert [one["state"] for one in index] == ["READY", "UNAVAILABLE"]
        assert [m["name"] for m in served.client.get("/v1/models").json()["models"]] == ["vector"]


def test_no_other_model_is_the_default_while_the_first_is_not_there(
    vector_agent: Path, tmp_path: Path
):
    with serving({"none": tmp_path, "vector": vector_agent}) as served:
        assert served.client.get("/v1/models").json()["models"][0]["default"] is False
        got = served.client.post("/v1/act", json=GOOD)
        assert error_of(got, 503)["code"] == "not_ready"


def test_a_reload_that_fails_leaves_it_ready(served: Served, tmp_path: Path):
    assert served.client.portal is not None
    models = {"vector": {"checkpoint": str(tmp_path)}}
    served.client.portal.call(served.service.roster.configure, models)
    assert served.client.get("/readyz").status_code == 200
    model = served.client.get("/v1/models/vector").json()
    assert model["state"] == "ready"
    assert "checkpoint must" in model["error"]
    failed = ("ez_reloads_total", (("model", "vector"), ("outcome", "failed")))
    assert samples(served)[failed] == 1


def test_a_service_that_goes_down_is_not_ready(served: Served):
    assert served.client.portal is not None
    served.client.portal.call(served.service.stop)
    assert error_of(served.client.get("/readyz"), 503)["code"] == "draining"
    assert error_of(served.act(GOOD), 503)["code"] == "draining"
    assert served.client.get("/healthz").status_code == 200


def test_being_alive_touches_no_model(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(served.service, "roster", None)
    monkeypatch.setattr(served.service, "batcher", None)
    assert served.client.get("/healthz").json() == {"status": "alive"}
    assert served.client.get("/v2/health/live").status_code == 200


def test_requests_are_counted_by_route_and_code(served: Served):
    for body in (GOOD, GOOD, {"observation": 1}):
        served.act(body)
    served.client.post("/v1/act", json=GOOD)
    served.client.get("/v1/models/vector")
    served.client.put("/v1/act")
    assert requests_of(samples(served)) == {
        ("vector", "/v1/models/{name}/act", "200"): 2,
        ("vector", "/v1/models/{name}/act", "422"): 1,
        ("vector", "/v1/act", "200"): 1,
        ("", "/v1/models/{name}", "200"): 1,
        ("", "/v1/act", "405"): 1,
    }


def test_batches_are_counted(served: Served):
    served.act({"observations": [[0, 0, 0, 0]] * 3})
    served.act(GOOD)
    found, label = samples(served), (("model", "vector"),)
    assert found["ez_batch_observations_sum", label] == 4
    assert found["ez_batch_observations_count", label] == 2
    assert found["ez_search_seconds_count", label] == 2
    assert found["ez_search_seconds_sum", label] > 0
    assert found["ez_queue_seconds_count", label] == 2
    assert found["ez_request_seconds_count", label] == 2
    assert found["ez_queued_observations", ()] == 0
    assert found["ez_search_cpu_seconds_total", ()] > 0
    assert found["ez_process_cpu_seconds_total", ()] > 0


def test_the_models_version_and_step_are_told(served: Served):
    labels = (("model", "vector"), ("step", "100"), ("version", "1"))
    found = samples(served)
    assert found["ez_model_info", labels] == 1
    assert found["ez_reloads_total", (("model", "vector"), ("outcome", "loaded"))] == 1


def test_no_client_can_make_up_labels(served: Served):
    before = set(samples(served))
    for i in range(20):
        served.client.get(f"/x{i}")
        served.client.get(f"/v1/models/x{i}")
        served.act(GOOD, model=f"x{i}")
        served.client.post(f"/v2/models/x{i}/infer", json={})
        served.client.post(f"/v1/models/x{i}/load", json={})
        served.client.request(f"X{i}", "/v1/act")
    new = {labels for name, labels in set(samples(served)) - before if name == "ez_requests_total"}
    routes = {(dict(one)["route"], dict(one)["code"]) for one in new}
    assert {dict(one)["model"] for one in new} == {""}
    assert routes == {
        ("", "404"),
        ("/v1/models/{name}", "404"),
        ("/v1/models/{name}/act", "404"),
        ("/v2/models/{name}/infer", "404"),
        ("/v1/models/{name}/load", "403"),
        ("/v1/act", "405"),
        ("/metrics", "200"),
    }

"""What stands before every route: tokens, request ids, limits of bodies, errors without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIWebSocketRoute
from starlette.routing import BaseRoute

from serve.guards import is_open, read_request_id
from tests.serve.apps import (
    ADMIN,
    CLIENT,
    JSON,
    Served,
    bearer,
    error_of,
    serving,
    token_file,
)

OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"}
ADMINS = {
    ("POST", "/v1/models/{name}/load"),
    ("POST", "/v1/models/{name}/rollback"),
    ("DELETE", "/v1/models/{name}"),
}
MIB = 2**20


def routes_of(served: Served) -> list[BaseRoute]:
    """Every route of the application, whatever routers they come from."""
    found: list[BaseRoute] = []
    waiting = list(served.client.app._app.router.routes)  # type: ignore[union-attr]
    while waiting:
        route = waiting.pop(0)
        nested = getattr(getattr(route, "original_router", None), "routes", None)
        if nested is None:
            found.append(route)
        else:
            waiting += nested
    return found


def asked(served: Served) -> list[tuple[str, str]]:
    """(method, path) of every route that HTTP can ask."""
    return [
        (method, route.path)  # type: ignore[attr-defined]
        for route in routes_of(served)
        for method in sorted(getattr(route, "methods", None) or ())
    ]


@pytest.fixture(scope="module")
def guarded(vector_agent: Path, tmp_path_factory: Any) -> Iterator[Served]:
    tokens = token_file(tmp_path_factory.mktemp("tokens"))
    with serving({"vector": vector_agent}, token_file=tokens, max_body_bytes=MIB) as one:
        yield one


@pytest.fixture
def free(vector_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent}) as one:
        yield one


def ask(served: Served, method: str, path: str, token: str | None) -> httpx.Response:
    headers = {} if token is None else bearer(token)
    path = path.replace("{name}", "vector").replace("{version}", "1")
    return served.client.request(method, path, headers=headers)


def test_the_routes_are_found(guarded: Served):
    found = set(asked(guarded))
    assert found >= {*ADMINS, ("POST", "/v1/models/{name}/act"), ("GET", "/metrics")}
    assert len(found) > 20
    assert any(isinstance(route, APIWebSocketRoute) for route in routes_of(guarded))


@pytest.mark.parametrize("token", [None, "another-token-of-the-tests", ""])
def test_every_route_asks_for_a_token_but_the_open_ones(guarded: Served, token: str | None):
    for method, path in asked(guarded):
        got = ask(guarded, method, path, token)
        if path in OPEN:
            assert got.status_code in (200, 405), path
        else:
            assert got.status_code == 401, (method, path)
            assert got.headers["www-authenticate"] == "Bearer"
            if method != "HEAD" and not path.startswith("/v2"):
                assert error_of(got, 401)["code"] == "unauthorized"


def test_every_route_but_the_admins_takes_a_clients_token(guarded: Served):
    for method, path in asked(guarded):
        got = ask(guarded, method, path, CLIENT)
        if (method, path) in ADMINS:
            assert error_of(got, 403)["code"] == "forbidden"
        else:
            assert got.status_code not in (401, 403, 500), (method, path)


def test_every_admins_route_takes_an_admins_token_before_it_reads_the_body(guarded: Served):
    got = guarded.client.post("/v1/models/vector/load", headers=bearer(ADMIN))
    assert error_of(got, 415)["code"] == "unsupported_media_type"
    got = ask(guarded, "POST", "/v1/models/vector/rollback", ADMIN)
    assert error_of(got, 409)["code"] == "conflict"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/vector/load/",
        "/v1/models/vector/load%0A",  # a route's pattern ends before a last line break
        "/v1/models/vector/rollback%0A",
        "/v1/models/vector%2Fload",
        "/v1//models/vector/load",
        "/v1/models/vector//load",
        "/v1/models/vector/./load",
        "/V1/models/vector/load",
        "/v1/models/vector/load?x=/act",
        "/v1/models/vector/load;x",
        "/v1/models/vector/load%2F",
        "/v1/models/vector/%6Coad",
        "/healthz/../v1/models/vector/rollback",
        "/v2/health/../../v1/models/vector/rollback",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "GET"])
def test_no_spelling_of_a_path_opens_what_is_an_admins(guarded: Served, method: str, path: str):
    body = {"content": b'{"checkpoint": "/"}', "headers": {"content-type": JSON, **bearer(CLIENT)}}
    got = guarded.client.request(method, f"http://testserver{path}", **body)
    assert got.status_code in (403, 404, 405)
    model = guarded.service.roster.seats["vector"].current
    assert model is not None
    assert model.version == 1


def test_an_admins_path_is_refused_where_nobody_has_a_token(free: Served):
    for method, path in ADMINS:
        error = error_of(ask(free, method, path, None), 403)
        assert error["code"] == "forbidden"
        assert "start it with --token-file" in error["message"]
    assert ask(free, "GET", "/v1/models", None).status_code == 200


@pytest.mark.parametrize("path", ["/healthz\n", "/healthz/", "/v2/health", "/docs/x", "/readyz2"])
def test_only_what_is_open_is_open(path: str):
    assert not is_open(path)


@pytest.mark.parametrize("path", ["/", "/none", "/v2/none", "/v1/models/vector/act/"])
def test_no_path_tells_a_stranger_whether_it_exists(guarded: Served, path: str):
    assert guarded.client.get(path).status_code == 401


def test_a_request_id_comes_back_once(free: Served):
    got = free.client.get("/v1/models/none", headers={"X-Request-ID": "Ab3._-"})
    assert got.headers.get_list("x-request-id") == ["Ab3._-"]
    assert error_of(got, 404)["request_id"] == "Ab3._-"


@pytest.mark.parametrize("given", [b"", b"a" * 65, b"a b", b"a\n", b"\xff", b"a;b"])
def test_a_request_id_of_other_characters_is_replaced(given: bytes):
    assert read_request_id(given) != given.decode("latin-1")
    assert len(read_request_id(given)) == 16


def test_no_other_tells_a_request_id_where_the_server_does(free: Served):
    from starlette.testclient import TestClient

    from serve.app import build_app

    got = TestClient(build_app(free.service, tells_request_id=False)).get("/healthz")
    assert "x-request-id" not in got.headers


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/v1/models/vector/none", 404)])
def test_an_unknown_path_is_told_in_the_schema(free: Served, path: str, status: int):
    assert error_of(free.client.get(path), status)["code"] == "not_found"


def test_another_method_is_told_in_the_schema(free: Served):
    got = free.client.put("/v1/act")
    assert error_of(got, 405)["code"] == "method_not_allowed"
    assert got.headers["allow"] == "POST"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, identity"])
@pytest.mark.parametrize("path", ["/v1/models/vector/act", "/v1/models/vector/load"])
def test_a_compressed_body_is_refused(guarded: Served, path: str, encoding: str):
    headers = {**bearer(ADMIN), "content-encoding": encoding, "content-type": JSON}
    got = guarded.client.post(path, content=b'{"observation": [0, 0, 0, 0]}', headers=headers)
    error = error_of(got, 415)
    assert error["code"] == "unsupported_media_type"
    assert "content encoding must be identity" in error["message"]


def chunks(count: int, taken: list[int]) -> Iterator[bytes]:
    for i in range(count):
        taken.append(i)
        yield bytes(64 * 1024)


POSTED = ["/v1/models/vector/act", "/v1/act", "/v1/models/vector/load", "/v2/repository/index"]


@pytest.mark.parametrize("path", POSTED)
def test_a_body_that_says_it_is_too_large_is_refused(guarded: Served, path: str):
    headers = {**bearer(ADMIN), "content-type": JSON}
    got = guarded.client.post(path, content=bytes(MIB + 1), headers=headers)
    assert got.status_code == 413
    assert got.headers["connection"] == "close"


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 5000])
def test_a_length_of_too_many_digits_is_too_large(guarded: Served, digits: str):
    headers = {**bearer(CLIENT), "content-length": digits}
    got = guarded.client.post("/v1/act", content=b"", headers=headers)
    assert error_of(got, 413)["details"] == {"limit": MIB}


@pytest.mark.parametrize("path", [*POSTED, "/v2/models/vector/infer"])
def test_a_body_of_unknown_length_is_cut(guarded: Served, path: str):
    headers = {**bearer(ADMIN), "content-type": JSON}
    got = guarded.client.post(path, content=chunks(20, []), headers=headers)
    assert got.status_code == 413


def raise_secret(*args: Any, **kwargs: Any) -> Any:
    raise KeyError("secret of /work/ours.py")


@pytest.mark.parametrize("path", ["/v1/models", "/v2/models/vector", "/metrics"])
def test_a_mistake_of_ours_is_told_without_its_cause(
    free: Served, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("serve.routes_act.model_info", raise_secret)
    monkeypatch.setattr("serve.routes_oip.found", raise_secret)
    monkeypatch.setattr(free.service.metrics, "text", raise_secret)
    monkeypatch.setattr(logging.getLogger("serve"), "propagate", True)
    got = free.client.get(path, headers={"x-request-id": "mine"})
    assert got.status_code == 500
    assert "secret" not in got.text
    record = next(r for r in caplog.records if getattr(r, "fields", {}).get("request_id") == "mine")
    assert record.exc_info is not None
    assert "secret of /work/ours.py" in str(record.exc_info[1])


def test_a_mistake_of_ours_has_the_schema(free: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.routes_act.act_reply", raise_secret)
    error = error_of(free.act({"observation": [0, 0, 0, 0]}), 500)
    assert error["code"] == "internal"
    assert free.client.get("/healthz").status_code == 200


def test_the_access_log_tells_a_request_and_no_token(
    vector_agent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(logging.getLogger("serve"), "propagate", True)
    settings = {"token_file": token_file(tmp_path), "access_log": True}
    with (
        caplog.at_level(logging.INFO, "serve"),
        serving({"vector": vector_agent}, **settings) as one,
    ):
        one.act({"observation": 0}, headers={**bearer(CLIENT), "x-request-id": "mine"})
    fields = [r.fields for r in caplog.records if r.getMessage() == "request"]  # type: ignore[attr-defined]
    assert [{**f, "ms": 0} for f in fields] == [
        {
            "request_id": "mine",
            "method": "POST",
            "route": "/v1/models/{name}/act",
            "model": "vector",
            "code": 422,
            "ms": 0,
        }
    ]
    assert CLIENT not in repr([vars(record) for record in caplog.records])

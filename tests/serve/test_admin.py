"""Load, roll back, remove: what an admin changes, and what a bad checkpoint does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.agents import VECTOR, written
from tests.serve.apps import ADMIN, JSON, Served, bearer, error_of, serving, token_file

GOOD = {"observation": [0, 0, 0, 0]}


@pytest.fixture
def served(vector_agent: Path, tmp_path: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent}, token_file=token_file(tmp_path)) as one:
        one.client.headers.update(bearer(ADMIN))
        yield one


def load(served: Served, checkpoint: Any, *, model: str = "vector") -> httpx.Response:
    return served.client.post(f"/v1/models/{model}/load", json={"checkpoint": str(checkpoint)})


def version(served: Served) -> int:
    """Of the model that answers."""
    return int(served.act(GOOD).json()["model"]["version"])


def test_another_checkpoint_takes_the_models_place(served: Served, tmp_path: Path):
    other = written(tmp_path / "checkpoint_000000200")
    told = load(served, other).json()
    assert (told["version"], told["checkpoint"]["path"]) == (2, str(other))
    assert told == served.client.get("/v1/models/vector").json()
    assert version(served) == 2


def test_a_new_name_is_served_beside_the_others(served: Served, pixel_agent: Path):
    assert load(served, pixel_agent, model="new").json()["default"] is False
    models = served.client.get("/v1/models").json()["models"]
    assert [m["name"] for m in models] == ["vector", "new"]
    assert served.act(GOOD).json()["model"]["name"] == "vector"


def test_a_rollback_brings_the_version_before(served: Served, tmp_path: Path):
    load(served, written(tmp_path / "checkpoint_000000200"))
    assert served.client.post("/v1/models/vector/rollback").json()["version"] == 1
    assert version(served) == 1
    error = error_of(served.client.post("/v1/models/vector/rollback"), 409)
    assert error["code"] == "conflict"


@pytest.mark.parametrize("spoil", [shutil.rmtree, lambda path: tear(path)])
def test_a_rollback_to_what_is_spoilt_is_told_and_changes_no_answer(
    served: Served, tmp_path: Path, spoil: Any
):
    earlier = written(tmp_path / "checkpoint_000000200")
    for checkpoint in (earlier, written(tmp_path / "b"), written(tmp_path / "c")):
        assert load(served, checkpoint).status_code == 200
    spoil(earlier)
    assert served.client.post("/v1/models/vector/rollback").json()["version"] == 3
    error = error_of(served.client.post("/v1/models/vector/rollback"), 409)
    assert "checkpoint" in error["message"]
    assert version(served) == 3


def test_a_removed_model_answers_no_more(served: Served, pixel_agent: Path):
    load(served, pixel_agent, model="new")
    got = served.client.delete("/v1/models/vector")
    assert (got.status_code, got.content) == (204, b"")
    assert error_of(served.act(GOOD), 404)["code"] == "model_not_found"
    assert served.client.get("/v1/models/new").json()["default"] is True


@pytest.mark.parametrize("path", ["/v1/models/none/rollback", "/v1/models/none"])
def test_an_unknown_model_is_told_so(served: Served, path: str):
    method = "POST" if path.endswith("rollback") else "DELETE"
    assert error_of(served.client.request(method, path), 404)["code"] == "model_not_found"


def test_another_space_is_refused(served: Served, pixel_agent: Path):
    error = error_of(load(served, pixel_agent), 409)
    assert error["code"] == "model_changed"
    assert "serve it under another name" in error["message"]
    assert version(served) == 1


def tear(checkpoint: Path) -> None:
    weights = next(checkpoint.rglob("weights.pt"))
    weights.write_bytes(weights.read_bytes()[:1000])


def torn(folder: Path) -> Path:
    checkpoint = written(folder / "checkpoint_000000200")
    tear(checkpoint)
    return checkpoint


def infinite(folder: Path) -> Path:
    def spoil(weights: dict[str, Any]) -> None:
        for one in weights.values():
            one.fill_(float("nan"))

    return written(folder / "checkpoint_000000200", VECTOR, change=spoil)


@pytest.mark.parametrize(
    "make", [torn, infinite, lambda folder: folder, lambda folder: folder / "x"]
)
def test_a_bad_checkpoint_is_refused_and_changes_nothing(served: Served, tmp_path: Path, make: Any):
    before = served.client.get("/v1/models/vector").json()
    error = error_of(load(served, make(tmp_path)), 404)
    assert "checkpoint must" in error["message"]
    assert served.client.get("/v1/models/vector").json() == before
    assert version(served) == 1


@pytest.mark.parametrize(
    ("checkpoint", "status"),
    [
        ("/" + "x" * 300, 404),
        ("/x\x00y", 404),
        ("/work/" + "x/" * 1000, 404),
        ("relative/run", 422),
        ("", 422),
        ("x" * 5000, 422),
    ],
)
def test_a_path_that_cannot_be_is_the_clients_mistake(served: Served, checkpoint: str, status: int):
    assert load(served, checkpoint).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"{}", 422),
        (b'{"checkpoint": 1}', 422),
        (b'{"checkpoint": null}', 422),
        (b'{"checkpoint": "/x", "version": 2}', 422),
        (b'{"checkpoint": "\\ud800"}', 400),
        (b'{"checkpoint": ' + b"[" * 100_000, 400),
    ],
)
def test_a_wrong_body_is_told(served: Served, body: bytes, status: int):
    got = served.client.post("/v1/models/vector/load", content=body, headers={"content-type": JSON})
    assert error_of(got, status)["code"] in ("bad_request", "invalid_request")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json5", "application/msgpack"])
def test_only_json_is_read(served: Served, kind: str, vector_agent: Path):
    body = f'{{"checkpoint": "{vector_agent}"}}'.encode()
    got = served.client.post("/v1/models/vector/load", content=body, headers={"content-type": kind})
    assert error_of(got, 415)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("name", ["-x", "x" * 65, "x y", "ä"])
def test_a_name_that_no_model_may_have_is_refused(served: Served, name: str, vector_agent: Path):
    assert error_of(load(served, vector_agent, model=name), 422)["code"] == "invalid_request"


def test_a_model_may_be_called_as_an_admins_path(served: Served, vector_agent: Path):
    assert load(served, vector_agent, model="load").status_code == 200
    assert served.client.get("/v1/models/load").json()["name"] == "load"

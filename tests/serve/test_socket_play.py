"""The WebSocket: metadata first, a frame at a time, errors that keep the connection."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.serve.apps import ADMIN, CLIENT, Served, bearer, listening, serving, token_file

FRAMES = np.random.default_rng(7).integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
PLAY = "/v1/models/pixel/play"


@pytest.fixture(scope="module")
def served(vector_agent: Path, pixel_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent, "pixel": pixel_agent}) as one:
        yield one


@pytest.fixture
def socket(served: Served) -> Iterator[Any]:
    with served.client.websocket_connect(PLAY) as one:
        one.receive_json()
        yield one


def say(socket: Any, **fields: Any) -> dict[str, Any]:
    socket.send_text(json.dumps({"include": ["policy", "value"], **fields}))
    return json.loads(socket.receive_text())


def say_bytes(socket: Any, **fields: Any) -> dict[str, Any]:
    socket.send_bytes(msgpack.packb({"include": ["policy", "value"], **fields}))
    return msgpack.unpackb(socket.receive_bytes())


def packed(frame: np.ndarray) -> dict[str, Any]:
    return {"data": frame.tobytes(), "shape": list(frame.shape), "dtype": "uint8"}


def stack_at(step: int) -> np.ndarray:
    """[3, 32, 32, 3]: as the episode of FRAMES has it."""
    return FRAMES[[max(0, step - 2), max(0, step - 1), step]]


def answer(reply: dict[str, Any]) -> list[Any]:
    return [reply[name] for name in ("action", "policy", "value")]


def test_the_metadata_come_first(served: Served):
    with served.client.websocket_connect(PLAY) as socket:
        first = json.loads(socket.receive_text())
    assert first == {"type": "metadata", "model": served.client.get("/v1/models/pixel").json()}


@pytest.mark.parametrize("kind", ["json", "msgpack"])
def test_single_frames_are_answered_as_whole_stacks(served: Served, socket: Any, kind: str):
    for step, frame in enumerate(FRAMES):
        if kind == "json":
            reply = say(socket, observation=frame.tolist(), reset=step == 0)
        else:
            reply = say_bytes(socket, observation=packed(frame), reset=step == 0)
        expected = served.raw(stack_at(step), model="pixel", include="policy,value")
        assert answer(reply) == answer(expected)


def test_a_whole_stack_begins_a_session_too(served: Served, socket: Any):
    say_bytes(socket, observation=packed(stack_at(2)))
    reply = say_bytes(socket, observation=packed(FRAMES[3]))
    expected = served.raw(stack_at(3), model="pixel", include="policy,value")
    assert answer(reply) == answer(expected)


def test_a_reset_begins_another_episode(served: Served, socket: Any):
    say_bytes(socket, observation=packed(FRAMES[5]), reset=True)
    say_bytes(socket, observation=packed(FRAMES[0]), reset=True)
    reply = say_bytes(socket, observation=packed(FRAMES[1]))
    expected = served.raw(stack_at(1), model="pixel", include="policy,value")
    assert answer(reply) == answer(expected)


def test_a_batch_stands_for_itself(served: Served, socket: Any):
    say_bytes(socket, observation=packed(FRAMES[0]), reset=True)
    many = say_bytes(socket, observations=packed(np.stack([stack_at(2), stack_at(3)])))
    assert len(many["actions"]) == 2
    reply = say_bytes(socket, observation=packed(FRAMES[1]))
    expected = served.raw(stack_at(1), model="pixel", include="policy,value")
    assert answer(reply) == answer(expected)


def test_a_frame_that_was_not_answered_may_be_sent_again(served: Served, socket: Any):
    say_bytes(socket, observation=packed(FRAMES[0]), reset=True)
    late = say_bytes(socket, observation=packed(FRAMES[1]), deadline_ms=1e-6)
    assert late["error"]["code"] == "deadline_exceeded"
    refused = say_bytes(socket, observation=packed(FRAMES[1]), simulations=10_000)
    assert refused["error"]["code"] == "invalid_request"
    reply = say_bytes(socket, observation=packed(FRAMES[1]))
    expected = served.raw(stack_at(1), model="pixel", include="policy,value")
    assert answer(reply) == answer(expected)


def test_two_connections_share_no_stacks(served: Served):
    with (
        served.client.websocket_connect(PLAY) as one,
        served.client.websocket_connect(PLAY) as other,
    ):
        one.receive_json(), other.receive_json()
        say_bytes(one, observation=packed(FRAMES[0]), reset=True)
        say_bytes(other, observation=packed(FRAMES[5]), reset=True)
        reply = say_bytes(one, observation=packed(FRAMES[1]))
        expected = served.raw(stack_at(1), model="pixel", include="policy,value")
    assert answer(reply) == answer(expected)


def test_the_session_is_forgotten_at_the_end(served: Served):
    sessions = served.service.roster.seats["pixel"].sessions
    with served.client.websocket_connect(PLAY) as socket:
        socket.receive_json()
        say_bytes(socket, observation=packed(FRAMES[0]), reset=True)
        assert len(sessions) == 1
    assert len(sessions) == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", "bad_request"),
        ("{", "bad_request"),
        ("[]", "bad_request"),
        ("{}", "invalid_request"),
        ('{"observation": [1]}', "invalid_observation"),
        ('{"observation": 1, "x": 1}', "invalid_request"),
        ('{"observation": 1, "session_id": "a"}', "invalid_request"),
        ('{"observations": [[1]], "reset": true}', "invalid_request"),
        (b"", "bad_request"),
        (b"\xc1", "bad_request"),
        (b"\x80", "invalid_request"),
    ],
)
def test_an_error_keeps_the_connection(socket: Any, sent: str | bytes, code: str):
    if isinstance(sent, str):
        socket.send_text(sent)
        told = json.loads(socket.receive_text())
    else:
        socket.send_bytes(sent)
        told = msgpack.unpackb(socket.receive_bytes())
    assert told["error"]["code"] == code
    assert told["error"].keys() == {"code", "message", "details", "request_id"}
    assert "action" in say_bytes(socket, observation=packed(FRAMES[0]), reset=True)


def test_a_frame_without_a_beginning_is_told_so(socket: Any):
    told = say(socket, observation=FRAMES[0].tolist())
    assert told["error"]["code"] == "session_lost"


def test_a_mistake_of_ours_is_logged_with_the_id_that_is_told(
    socket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("serve.socket_play.act_reply", fail)
    monkeypatch.setattr(logging.getLogger("serve"), "propagate", True)
    told = say_bytes(socket, observation=packed(FRAMES[0]), reset=True)["error"]
    assert told["code"] == "internal"
    assert "secret" not in json.dumps(told)
    ids = [getattr(record, "fields", {}).get("request_id") for record in caplog.records]
    assert told["request_id"] in ids


def test_a_mistake_before_the_metadata_is_logged_and_closes_the_connection(
    vector_agent: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*args: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("serve.socket_play.info_of", fail)
    monkeypatch.setattr(logging.getLogger("serve"), "propagate", True)
    with listening({"vector": vector_agent}) as (port, _):
        with pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws://127.0.0.1:{port}/v1/models/vector/play",
                additional_headers={"x-request-id": "mine"},
            )
    assert refused.value.response.status_code == 500
    assert b"secret" not in (refused.value.response.body or b"")
    assert "mine" in [getattr(r, "fields", {}).get("request_id") for r in caplog.records]


def test_answers_are_counted(served: Served, socket: Any):
    def counted(code: int) -> float:
        labels = {"model": "pixel", "route": "/v1/models/{name}/play", "code": str(code)}
        found = served.service.metrics.registry.get_sample_value("ez_requests_total", labels)
        return found or 0.0

    before = counted(200), counted(422)
    say_bytes(socket, observation=packed(FRAMES[0]), reset=True)
    say_bytes(socket)
    assert (counted(200), counted(422)) == (before[0] + 1, before[1] + 1)


def turned_away(served: Served, path: str, **options: Any) -> tuple[dict[str, Any], int]:
    """What is told, and the code that closes the connection."""
    with served.client.websocket_connect(path, **options) as socket:
        told = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    return told["error"], closed.value.code


def test_an_unknown_model_closes_the_connection(served: Served):
    error, code = turned_away(served, "/v1/models/none/play")
    assert (error["code"], code) == ("model_not_found", 4404)


def test_a_model_that_could_not_be_loaded_closes_the_connection(tmp_path: Path):
    with serving({"vector": tmp_path}) as served:
        error, code = turned_away(served, "/v1/models/vector/play")
    assert (error["code"], code) == ("not_ready", 4503)


@pytest.mark.parametrize("headers", [{}, bearer("another-token-of-the-tests")])
def test_a_connection_without_a_token_is_closed(
    vector_agent: Path, tmp_path: Path, headers: dict[str, str]
):
    with serving({"vector": vector_agent}, token_file=token_file(tmp_path)) as served:
        error, code = turned_away(served, "/v1/models/vector/play", headers=headers)
        assert (error["code"], code) == ("unauthorized", 4401)
        for token in (CLIENT, ADMIN):
            path = "/v1/models/vector/play"
            with served.client.websocket_connect(path, headers=bearer(token)) as socket:
                assert socket.receive_json()["type"] == "metadata"


def test_a_service_that_goes_down_answers_and_closes(vector_agent: Path):
    with listening({"vector": vector_agent}) as (port, service):
        with connect(f"ws://127.0.0.1:{port}/v1/models/vector/play") as socket:
            socket.recv(10)
            service.is_draining = True
            socket.send('{"observation": [0, 0, 0, 0], "reset": true}')
            assert "action" in json.loads(socket.recv(10))
            with pytest.raises(ConnectionClosed):
                socket.recv(10)
            assert socket.close_code == 1001


def test_a_true_connection_to_an_unknown_model_is_told_and_closed(vector_agent: Path):
    with listening({"vector": vector_agent}) as (port, _):
        with connect(f"ws://127.0.0.1:{port}/v1/models/none/play") as socket:
            assert json.loads(socket.recv(10))["error"]["code"] == "model_not_found"
            with pytest.raises(ConnectionClosed):
                socket.recv(10)
            assert socket.close_code == 4404


def test_a_frame_too_large_ends_a_true_connection_and_its_session(vector_agent: Path):
    with listening({"vector": vector_agent}, max_body_bytes=10_000) as (port, service):
        sessions = service.roster.seats["vector"].sessions
        with connect(f"ws://127.0.0.1:{port}/v1/models/vector/play") as socket:
            socket.recv(10)
            socket.send('{"observation": [0, 0, 0, 0], "reset": true}')
            assert "action" in json.loads(socket.recv(10))
            assert len(sessions) == 1
            socket.send(b"x" * 10_001)
            with pytest.raises(ConnectionClosed):
                socket.recv(10)
            assert socket.close_code == 1009
        end = time.monotonic() + 10
        while len(sessions) and time.monotonic() < end:
            time.sleep(0.01)
        assert len(sessions) == 0

"""The client against a service that is played by a function."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serve.client import (
    ActionClient,
    AsyncActionClient,
    ObservationRefused,
    RequestRefused,
    ServiceFailed,
    ServiceUnavailable,
)
from serve.remote_agent import fitting
from serve.wire import Heard, Lost, Retry

SPACE = {"shape": [2, 3], "frame_shape": [3], "frame_stack": 2, "dtype": "float32"}
INFO = {"name": "m", "default": True, "version": 1, "observation": SPACE, "actions": {"n": 3}}
ONE = np.arange(6, dtype=np.float32).reshape(2, 3)
MANY = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
FRAMES = np.arange(15, dtype=np.float32).reshape(5, 3)
Answer = httpx.Response | Exception


def error(status: int, code: str, **headers: str) -> httpx.Response:
    entries = {"code": code, "message": "no", "details": {"a": 1}, "request_id": "r"}
    return httpx.Response(status, json={"error": entries}, headers=headers)


def reply(count: int | None = None, **entries: Any) -> dict[str, Any]:
    actions: dict[str, Any] = {"action": 1, "simulations": 4}
    if count is not None:
        actions = {"actions": list(range(count)), "simulations": [4] * count}
    timing = {"queue": 0.1, "search": 0.2, "total": 0.4}
    served = {"model": {"name": "m", "version": 7, "step": 100}, "timing_ms": timing}
    return {**actions, **served, "batch_size": 8, "request_id": "r", **entries}


class Fake:
    """Tells of its model, gives one answer after the other, and keeps what it was asked."""

    def __init__(self, *answers: Answer | dict[str, Any]) -> None:
        self.answers, self.asked, self.looked_up = list(answers), list[httpx.Request](), 0
        self.queries, self.sizes = list[dict[str, str]](), list[int]()  # sizes: in frames

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.looked_up += 1
            entries = {"models": [INFO]} if request.url.path == "/v1/models" else INFO
            return httpx.Response(200, json=entries)
        self.asked.append(request)
        self.queries.append(dict(request.url.params))
        self.sizes.append(len(request.content) // FRAMES[0].nbytes)
        answer = self.answers.pop(0) if self.answers else reply()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@contextmanager
def client_of(fake: Callable[[httpx.Request], httpx.Response], **options: Any) -> Iterator[Any]:
    with ActionClient("http://m", transport=httpx.MockTransport(fake), **options) as client:
        yield client


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("serve.client.time.sleep", slept.append)
    return slept


def test_an_observation_travels_as_bare_numbers():
    fake = Fake()
    with client_of(fake) as client:
        assert client.act(ONE.astype(np.float64), seed=2**64 - 1, deterministic=False) == 1
    assert fake.asked[0].content == ONE.astype("<f4").tobytes()
    assert fake.asked[0].headers["content-type"] == "application/octet-stream"
    assert fake.queries == [{"seed": "18446744073709551615", "deterministic": "false"}]


def test_where_an_episode_begins_one_frame_is_enough():
    fake = Fake()
    with client_of(fake) as client:
        client.act(FRAMES[0], legal_actions=np.array([0, 2]))
    assert (fake.sizes, fake.queries) == ([1], [{"legal_actions": "0,2"}])


@pytest.mark.parametrize("wrong", [ONE.T, ONE[None], ONE.astype("U4")])
def test_another_shape_or_kind_is_refused_before_it_is_sent(wrong: np.ndarray):
    fake = Fake()
    with client_of(fake) as client, pytest.raises(ObservationRefused, match="observation must"):
        client.act(wrong)
    assert fake.asked == []


def test_pixels_must_be_bytes():
    info = {**INFO, "observation": {**SPACE, "dtype": "uint8"}}
    with pytest.raises(ObservationRefused, match="numbers of uint8, got float32"):
        fitting(ONE, info, "shape")


def test_an_unknown_option_is_refused():
    with client_of(Fake()) as client, pytest.raises(TypeError, match=r"got \['simulation'\]"):
        client.act(ONE, simulation=3)


def test_a_batchs_options_stand_in_the_query():
    fake = Fake(reply(2))
    legal = np.array([[True, False, True], [False, True, False]])
    with client_of(fake) as client:
        client.search(MANY, legal=legal, seeds=np.array([5, 6], np.uint64), num_simulations=[3, 4])
    query = {"legal_actions": "0,2;1", "seed": "5,6", "simulations": "3,4"}
    assert (fake.queries, fake.sizes) == ([query], [4])


def test_what_is_too_long_for_a_query_travels_as_json():
    fake = Fake(reply(300))
    seeds = np.arange(2**64 - 300, 2**64, dtype=np.uint64)
    with client_of(fake) as client:
        client.search(np.repeat(ONE[None], 300, 0), seeds=seeds)
    sent = json.loads(fake.asked[0].content)
    assert (fake.queries, sent["seed"]) == ([{}], seeds.tolist())
    assert sent["observations"]["shape"] == [300, 2, 3]
    assert base64.b64decode(sent["observations"]["data"]) == ONE.tobytes() * 300


def test_options_with_another_number_of_rows_are_refused():
    with client_of(Fake()) as client, pytest.raises(ValueError, match="seeds must have shape"):
        client.search(MANY, seeds=[1])


def test_a_reply_holds_arrays_by_the_names_of_a_search_result():
    visits, q = [[1, 3, 0], [2, 2, 0]], [[1.0, 2.0, None]] * 2
    columns = reply(2, visits=visits, value=[0.5, -1.0], q=q, principal_variation=[[1], [0, 2]])
    with client_of(Fake(columns)) as client:
        got = client.search(MANY, include=["visits", "value", "q", "principal_variation"])
    np.testing.assert_array_equal(got.action, [0, 1])
    np.testing.assert_array_equal(got.visit_counts, visits)
    np.testing.assert_array_equal(got.visit_probs, [[0.25, 0.75, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(got.root_value, [0.5, -1.0])
    np.testing.assert_array_equal(got.q, [[1.0, 2.0, np.nan]] * 2)
    np.testing.assert_array_equal(got.principal_variation, [[1, -1], [0, 2]])
    assert (got.model_name, got.model_version, got.model_step, got.policy) == ("m", 7, 100, None)


def test_a_batch_of_one_is_a_batch():
    with client_of(Fake(reply(value=0.5, seed=9))) as client:
        got = client.search(ONE[None], include=["value"])
    assert (got.action.shape, got.root_value.tolist(), got.seeds.tolist()) == ((1,), [0.5], [9])


def test_a_reply_that_is_none_is_the_services_mistake():
    with client_of(Fake(reply(1))) as client, pytest.raises(ServiceFailed, match="openapi"):
        client.search(MANY)


def test_token_and_request_id_are_sent_and_the_id_is_kept_over_retries():
    fake = Fake(error(503, "not_ready"), httpx.ReadError("gone"))
    with client_of(fake, token="secret") as client:
        client.act(ONE)
        client.act(ONE)
    ids = [request.headers["x-request-id"] for request in fake.asked]
    assert (ids[0] == ids[1] == ids[2], ids[2] == ids[3]) == (True, False)
    assert {request.headers["authorization"] for request in fake.asked} == {"Bearer secret"}


PASSING = [
    error(429, "overloaded"),
    error(503, "draining"),
    error(502, "replica_lost"),
    *(httpx.Response(status, text="<html>") for status in (500, 502, 503, 504)),
    httpx.ConnectError("refused"),
    httpx.RemoteProtocolError("closed"),
    httpx.ReadTimeout("slow"),
]


@pytest.mark.parametrize("answer", PASSING, ids=str)
def test_what_passes_is_asked_for_again(answer: Answer):
    fake = Fake(answer, answer)
    with client_of(fake) as client:
        assert client.act(ONE) == 1
    assert len(fake.asked) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(404, "model_not_found"), RequestRefused),
        (error(408, "deadline_exceeded"), RequestRefused),
        (error(422, "invalid_observation"), ObservationRefused),
        (error(500, "internal"), ServiceFailed),
        (httpx.LocalProtocolError("no header"), RequestRefused),
    ],
    ids=str,
)
def test_what_stays_is_asked_for_once(answer: Answer, kind: type[Exception]):
    fake = Fake(answer)
    with client_of(fake) as client, pytest.raises(kind):
        client.act(ONE)
    assert len(fake.asked) == 1


def test_an_error_tells_status_code_request_id_and_details():
    fake = Fake(error(422, "invalid_request"))
    with client_of(fake) as client, pytest.raises(RequestRefused, match="no") as caught:
        client.act(ONE)
    told = caught.value
    assert (told.status, told.code, told.details) == (422, "invalid_request", {"a": 1})
    assert told.request_id == "r"


def test_after_a_refusal_the_model_is_looked_up_again():
    fake = Fake(error(409, "model_changed"))
    with client_of(fake, model="m") as client:
        with pytest.raises(RequestRefused):
            client.act(ONE)
        client.act(ONE)
    assert fake.looked_up == 2


def test_retries_end_with_their_budget():
    with client_of(Fake(httpx.ConnectError("refused")), retry_seconds=0) as client:
        with pytest.raises(ServiceUnavailable, match="refused"):
            client.act(ONE)


def test_retry_after_is_waited_for(pauses: list[float]):
    with client_of(Fake(error(429, "overloaded", **{"Retry-After": "2"}))) as client:
        client.act(ONE)
    assert 2 <= pauses[0] <= 2.1


def test_pauses_double_up_to_the_longest():
    slow = Retry(1000, draw=lambda low, high: high)
    waited = [slow.pause_after(Lost("gone")) for _ in range(8)]
    assert waited == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(
    ("budget", "asked", "pause"),
    [(60, "300", 10.1), (5, "300", None), (0.05, "0", 0.05), (0, "0", None), (60, "soon", 0.1)],
)
def test_a_pause_stays_within_bounds(budget: float, asked: str, pause: float | None):
    late = Retry(budget, clock=lambda: 0.0, draw=lambda low, high: high)
    assert late.pause_after(Heard(429, {"retry-after": asked}, "")) == pause


def test_the_async_client_does_the_same():
    fake = Fake(httpx.ReadError("gone"), reply(), reply(2))
    transport = httpx.MockTransport(fake)

    async def calls() -> list[Any]:
        async with AsyncActionClient("http://fake", model="m", transport=transport) as client:
            acted, found = await client.act(ONE), await client.search(MANY, seeds=[1, 2])
            async with client.session() as session:
                stepped = await session.act(FRAMES[0], reset=True)
            told = [await client.model(), session.metadata, *await client.models()]
        return [acted, found.action.tolist(), stepped, told]

    assert asyncio.run(calls()) == [1, [0, 1], 1, [INFO] * 3]
    assert fake.sizes == [2, 2, 4, 1]


def test_the_client_loads_no_more_than_numpy_and_httpx():
    code = "import serve.client, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    foreign = {"ray", "torch", "fastapi", "pydantic", "rllib_ez", "websockets"}
    assert set(done.stdout.split()) & {"numpy", "serve", *foreign} == {"numpy", "serve"}


def test_the_default_model_is_waited_for_and_asked_about_once():
    listed, paths = [[INFO], []], list[str]()

    def fake(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        is_one = request.url.path.endswith("/m")
        return httpx.Response(200, json=INFO if is_one else {"models": listed.pop()})

    with client_of(fake) as client:
        assert client.model() == client.model() == INFO
    assert paths == ["/v1/models", "/v1/models", "/v1/models/m"]

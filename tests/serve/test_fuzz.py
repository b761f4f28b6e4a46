"""Whatever comes in: no mistake of ours, an answer soon, and the next request as if nothing was.

EZ_FUZZ_EXAMPLES=5000 looks longer.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.serve.apps import ADMIN, JSON, MSGPACK, RAW, Served, bearer, serving, token_file

EXAMPLES = int(os.environ.get("EZ_FUZZ_EXAMPLES", "100"))
ALLOWED = {200, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429}
LONGEST = 5.0  # seconds of one request
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def served(vector_agent: Path, pixel_agent: Path, tmp_path_factory: Any) -> Iterator[Served]:
    tokens = token_file(tmp_path_factory.mktemp("tokens"))
    models = {"vector": vector_agent, "pixel": pixel_agent}
    with serving(models, token_file=tokens, max_body_bytes=2**20, max_sessions=8) as one:
        one.client.headers.update(bearer(ADMIN))
        yield one


@pytest.fixture(autouse=True)
def a_good_request_is_answered_afterwards(served: Served) -> Iterator[None]:
    good = {"observation": [0.5, 0, 0, 0], "include": ["policy"]}
    expected = served.act(good).json()["policy"]
    yield
    assert served.act(good).json()["policy"] == expected


def check(served: Served, path: str, body: bytes, **options: Any) -> int:
    """Asks once; the status, if it is one that may be."""
    begun = time.monotonic()
    got = served.client.post(path, content=body, **options)
    assert time.monotonic() - begun < LONGEST
    assert got.status_code in ALLOWED, got.text
    assert len(got.content) < 4000 or got.status_code == 200
    assert "Traceback" not in got.text
    return got.status_code


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(width=32)
    | st.text(max_size=5)
    | st.binary(max_size=20)
)
NAMES = [
    *("observation", "observations", "simulations", "legal_actions", "deterministic", "seed"),
    *("temperature", "include", "deadline_ms", "session_id", "reset", "step", "x"),
]
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["data", "shape", "dtype", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
observations = st.sampled_from([[0, 0, 0, 0], [[0.5, 1, -1, 2]], [[0, 0, 0, 0]] * 3]) | values
messages = st.fixed_dictionaries(
    {}, optional={name: observations if "obs" in name else values for name in NAMES}
)
# Mostly right: so that what is wrong is met further in.
options = st.fixed_dictionaries(
    {"observations": st.just([[0, 0, 0, 0]] * 2)},
    optional={
        "simulations": st.integers(-1, 60) | st.lists(st.integers(1, 60), max_size=3),
        "seed": st.integers(0, 2**64 - 1) | st.lists(st.integers(0, 2**64 - 1), max_size=3),
        "legal_actions": st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=3),
        "deterministic": st.booleans(),
        "temperature": st.floats(0, 1000, allow_subnormal=True),
        "include": st.lists(st.sampled_from(["policy", "q", "value", "visits"]), max_size=4),
        "deadline_ms": st.floats(1e-6, 1000),
    },
)


@given(body=st.binary(max_size=300), kind=st.sampled_from([JSON, MSGPACK, RAW, "text/plain", ""]))
@fuzzed
def test_any_bytes_of_any_kind(served: Served, body: bytes, kind: str):
    check(served, "/v1/act", body, headers={"content-type": kind})


@given(message=messages | values)
@fuzzed
def test_any_msgpack(served: Served, message: Any):
    check(served, "/v1/act", msgpack.packb(message), headers={"content-type": MSGPACK})


@given(message=messages | values)
@fuzzed
def test_any_json(served: Served, message: Any):
    body = json.dumps(message, default=lambda data: data.hex()).encode()
    check(served, "/v1/act", body, headers={"content-type": JSON})


@given(message=options, accept=st.sampled_from([JSON, MSGPACK, "*/*"]))
@fuzzed
def test_options_that_are_nearly_right(served: Served, message: Any, accept: str):
    headers = {"content-type": JSON, "accept": accept}
    check(served, "/v1/act", json.dumps(message).encode(), headers=headers)


@given(
    body=st.integers(0, 100).map(bytes),
    query=st.lists(st.tuples(st.sampled_from([*NAMES, "batch"]), st.text(max_size=12)), max_size=3),
)
@example(body=bytes(16), query=[("seed", "[" * 3000)])
@fuzzed
def test_any_query_string_beside_raw_bytes(served: Served, body: bytes, query: Any):
    check(served, "/v1/act", body, params=query, headers={"content-type": RAW})


plain = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                *("content-type", "content-encoding", "accept", "authorization", "x-request-id"),
                *("inference-header-content-length", "content-length", "host", "cookie"),
            ]
        ),
        plain.map(str.encode) | st.binary(max_size=20),
        max_size=4,
    ),
    path=st.sampled_from(["/v1/act", "/v2/models/vector/infer", "/v1/models/vector/load"]),
)
@fuzzed
def test_any_headers(served: Served, headers: dict[str, bytes], path: str):
    check(served, path, b'{"observation": [0, 0, 0, 0]}', headers=list(headers.items()))


TENSOR = {
    "name": st.sampled_from(["observation", "seed", "simulations", "legal_actions"]) | plain,
    "datatype": st.sampled_from(["FP32", "UINT8", "INT64", "UINT64", "BOOL", "INT32"]) | plain,
    "shape": st.lists(st.integers(-1, 5) | st.integers(), max_size=9),
}
tensors = st.fixed_dictionaries(
    TENSOR,
    optional={
        "data": st.lists(values, max_size=6),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(0, 40) | scalars}),
    },
)
heads = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3)},
    optional={
        "id": plain,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["q", "value", "x"])})),
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_output", "deterministic", "temperature", "x"]), scalars
        ),
    },
)


@given(head=heads, tail=st.binary(max_size=60), off=st.sampled_from([0, 0, 0, 0, 1, -1, 10**6]))
@fuzzed
def test_any_inference(served: Served, head: Any, tail: bytes, off: int):
    body = json.dumps(head, default=lambda data: data.hex()).encode()
    headers = {"Inference-Header-Content-Length": str(len(body) + off)}
    check(served, "/v2/models/vector/infer", body + tail, headers=headers)


@given(
    count=st.integers(0, 3),
    size=st.integers(-1, 1),
    numbers=st.binary(min_size=64, max_size=64),
)
@fuzzed
def test_any_bytes_as_an_observation(served: Served, count: int, size: int, numbers: bytes):
    head = {"name": "observation", "datatype": "FP32", "shape": [count, 1, 4]}
    head["parameters"] = {"binary_data_size": 16 * count + size}
    body = json.dumps({"inputs": [head]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(body))}
    tail = numbers[: max(0, 16 * count + size)]
    status = check(served, "/v2/models/vector/infer", body + tail, headers=headers)
    assert (status == 200) <= (size == 0 and count > 0)


@given(
    path=st.text(alphabet="/.%azv12{}:;\\ \n\x00é", max_size=20),
    method=st.sampled_from(["GET", "POST", "DELETE", "X"]),
)
@fuzzed
def test_any_path(served: Served, path: str, method: str):
    got = served.client.request(method, f"http://testserver/{quote(path)}")
    assert got.status_code in ALLOWED


@given(sent=st.lists(st.text(max_size=20) | st.binary(max_size=20) | messages, max_size=4))
@fuzzed
def test_any_frames_of_a_socket(served: Served, sent: list[Any]):
    with served.client.websocket_connect("/v1/models/vector/play") as socket:
        socket.receive_text()
        for one in sent:
            if isinstance(one, str):
                socket.send_text(one)
                told = json.loads(socket.receive_text())
            else:
                socket.send_bytes(one if isinstance(one, bytes) else msgpack.packb(one))
                told = msgpack.unpackb(socket.receive_bytes())
            assert told.get("error", {}).get("code") != "internal"


def test_hundreds_of_wrong_requests_leave_nothing_behind(served: Served):
    for i in range(300):
        body = b"\x00" * (i % 50)
        check(served, "/v1/act", body, headers={"content-type": [JSON, MSGPACK, RAW][i % 3]})
    assert served.service.batcher.queued == 0

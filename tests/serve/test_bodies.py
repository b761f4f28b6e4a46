"""From bytes to `ActRequest`: whatever is wrong is told by name, and nothing is dropped."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np
import pytest

from serve.bodies import from_json, from_msgpack, read_body
from serve.errors import BadRequest, Unprocessable, UnsupportedMedia
from tests.serve.agents import PIXEL, VECTOR

ONE = np.arange(4, dtype=np.float32)
FIELDS = {
    "observation": [0, 0.5, 1, -1],
    "simulations": [3, 4],
    "legal_actions": [[0], [1, 0]],
    "deterministic": False,
    "temperature": 0.5,
    "seed": 2**64 - 1,
    "include": ["q", "value"],
    "deadline_ms": 20,
    "session_id": "a",
    "reset": True,
    "step": 0,
}


def raw(body: bytes, *query: tuple[str, str], card: Any = VECTOR) -> Any:
    return read_body(body, "application/octet-stream", query, card)


@pytest.mark.parametrize("read", [from_json, from_msgpack])
def test_every_field_is_read_from_json_and_from_msgpack(read: Any):
    body = json.dumps(FIELDS) if read is from_json else msgpack.packb(FIELDS)
    assert read(body).model_dump(exclude_unset=True) == FIELDS


def test_every_option_is_read_from_the_query_string():
    request = raw(
        ONE.tobytes(),
        ("simulations", "3"),
        ("legal_actions", "1"),
        ("deterministic", "false"),
        ("temperature", "0.5"),
        ("seed", "18446744073709551615"),
        ("include", "q,value"),
        ("deadline_ms", "20"),
        ("session_id", "7"),
        ("reset", "true"),
        ("step", "4"),
    )
    options = request.model_dump(exclude={"observation", "observations"})
    assert options == {
        **{name: FIELDS[name] for name in options},
        **{"simulations": 3, "legal_actions": [1], "session_id": "7", "step": 4},
    }


def test_raw_bytes_are_one_observation_or_many():
    assert raw(ONE.tobytes()).observation.shape == (1, 4)
    assert raw(np.stack([ONE, ONE]).tobytes()).observations.shape == (2, 1, 4)
    assert raw(ONE.tobytes(), ("batch", "true")).observations.shape == (1, 1, 4)


def test_raw_bytes_of_one_frame_are_a_frame():
    frame = np.zeros((32, 32, 3), np.uint8).tobytes()
    assert raw(frame, card=PIXEL).observation.shape == (32, 32, 3)
    assert raw(frame, ("batch", "true"), card=PIXEL).observations.shape == (1, 32, 32, 3)
    assert raw(frame * 3, card=PIXEL).observation.shape == (3, 32, 32, 3)
    with pytest.raises(Unprocessable, match="observations of 9216 bytes, or one frame of 3072"):
        raw(frame * 2, card=PIXEL)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "x"),
        ("seed", "1.0"),
        ("seed", "-1"),
        ("seed", "18446744073709551616"),
        ("seed", "9" * 5000),
        ("seed", "1,"),
        ("seed", "[" * 5000),
        ("simulations", "0"),
        ("simulations", "true"),
        ("deterministic", "1"),
        ("deterministic", "True"),
        ("deterministic", '"\\ud800"'),
        ("temperature", "NaN"),
        ("temperature", "Infinity"),
        ("temperature", "0"),
        ("deadline_ms", "-5"),
        ("include", "policy,nothing"),
        ("legal_actions", ""),
        ("legal_actions", "0,-1"),
        ("legal_actions", "0;"),
        ("session_id", ""),
        ("session_id", "x" * 129),
        ("step", "-1"),
        ("batch", "1"),
    ],
)
def test_a_wrong_option_of_the_query_string_is_told_by_name(name: str, text: str):
    with pytest.raises(Unprocessable, match=f"^{name}") as raised:
        raw(ONE.tobytes(), (name, text))
    assert raised.value.details["fields"][0].split(".")[0] == name
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["nothing", "observation", "observations", "", "n" * 10_000])
def test_an_unknown_option_of_the_query_string_is_refused(name: str):
    with pytest.raises(Unprocessable, match="must be one of simulations, ") as raised:
        raw(ONE.tobytes(), (name, "1"))
    assert len(str(raised.value)) < 400


def test_an_option_that_is_given_twice_is_refused():
    with pytest.raises(Unprocessable, match="each once, got 'seed'"):
        raw(ONE.tobytes(), ("seed", "1"), ("seed", "1"))


@pytest.mark.parametrize("kind", ["application/json", "application/msgpack"])
def test_an_unknown_field_is_refused(kind: str):
    body = json.dumps({"obs": 1}).encode() if "json" in kind else msgpack.packb({"obs": 1})
    with pytest.raises(Unprocessable, match="^obs is not a field that is known here$"):
        read_body(body, kind, (), VECTOR)


def nested(depth: int) -> Any:
    inner: Any = []
    for _ in range(depth):
        inner = [inner]
    return inner


NO_JSON: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"a"',
    b"{}x",
    b"\xff\xfe{}",
    b'{"observation": NaN,}',
    b'{"observation": ' + b"[" * 100_000,
    b'{"session_id": "\\ud800"}',
    b'{"seed": ' + b"9" * 5000 + b"}",
    b"\x00" * 10,
]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_no_json_object_is_a_bad_request(body: bytes):
    with pytest.raises(BadRequest, match="must be an object") as raised:
        from_json(body)
    assert len(str(raised.value)) < 200


NO_MSGPACK: list[bytes] = [
    b"",
    b"\xc1",
    msgpack.packb([1]),
    msgpack.packb(5),
    msgpack.packb({"seed": 1}) + b"x",
    msgpack.packb({"seed": "abc"})[:-1],
    msgpack.packb({1: 2}),
    b"\x81\xa4seed" + b"\x91" * 100_000,
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\x81\xa2\xff\xff\x01",
    b"\xd6\xff\x00\x00\x00\x01",
]


@pytest.mark.parametrize("body", NO_MSGPACK, ids=range(len(NO_MSGPACK)))
def test_what_is_no_msgpack_map_is_a_bad_request(body: bytes):
    with pytest.raises(BadRequest, match="^body must be"):
        from_msgpack(body)


@pytest.mark.parametrize("value", [[1], 5, "a", None])
def test_msgpack_of_something_else_is_told_by_its_type(value: Any):
    name = type(value).__name__
    with pytest.raises(BadRequest, match=f"^body must be a map of fields, got {name}$"):
        from_msgpack(msgpack.packb(value))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"simulations": [1, 0]}, "simulations.1"),
        ({"simulations": True}, "simulations"),
        ({"simulations": "1"}, "simulations"),
        ({"simulations": 1.0}, "simulations"),
        ({"seed": -1}, "seed"),
        ({"seed": [1, 2**64]}, "seed.1"),
        ({"seed": {}}, "seed"),
        ({"legal_actions": 1}, "legal_actions"),
        ({"legal_actions": [[0], 1]}, "legal_actions.1"),
        ({"legal_actions": [[0], [None]]}, "legal_actions.1.0"),
        ({"deterministic": 1}, "deterministic"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 0}, "temperature"),
        ({"include": "policy"}, "include"),
        ({"include": ["policies"]}, "include.0"),
        ({"include": ["q"] * 17}, "include"),
        ({"deadline_ms": 0}, "deadline_ms"),
        ({"session_id": ""}, "session_id"),
        ({"step": 2**53}, "step"),
        ({"reset": None}, "reset"),
        ({"observation": {"data": "", "shape": [1]}}, "observation.dtype"),
        ({"observation": {"data": "", "shape": [-1], "dtype": "uint8"}}, "observation.shape.0"),
        ({"observation": {"data": "", "shape": [True], "dtype": "uint8"}}, "observation.shape.0"),
        ({"observation": {"data": "", "shape": [1] * 9, "dtype": "uint8"}}, "observation.shape"),
        ({"observation": {"data": "", "shape": [1], "dtype": "int8"}}, "observation.dtype"),
        (
            {"observation": {"data": "", "shape": [], "dtype": "uint8", "x": 1}},
            "observation.x",
        ),
        ({"one": 1}, "one"),
    ],
)
def test_a_wrong_field_is_told_by_its_place(fields: dict[str, Any], place: str):
    for read, body in ((from_json, json.dumps(fields)), (from_msgpack, packed(fields))):
        if body is not None:
            with pytest.raises(Unprocessable) as raised:
                read(body)
            assert raised.value.details["fields"] == [place]
            assert str(raised.value).startswith(place)


def packed(fields: Any) -> bytes | None:
    """msgpack has no integers beyond 64 bits."""
    try:
        return msgpack.packb(fields)
    except OverflowError:
        return None


def test_the_first_of_many_problems_is_told_and_how_many_there_are():
    with pytest.raises(Unprocessable, match=r"\(and 99 more\)") as raised:
        from_json(json.dumps({"seed": [-1] * 100}))
    assert len(raised.value.details["fields"]) == 20


def test_thousands_of_problems_are_only_counted():
    body = json.dumps({f"x{i}": 1 for i in range(50_000)})
    with pytest.raises(Unprocessable, match="got 50000 wrong ones"):
        from_json(body)


def test_a_long_name_is_cut():
    with pytest.raises(Unprocessable) as raised:
        from_json(json.dumps({"x" * 100_000: 1}))
    assert len(json.dumps(raised.value.body("id"))) < 1000


@pytest.mark.parametrize("kind", ["", "text/html", "application/json2", "x" * 10_000])
def test_another_content_type_is_told(kind: str):
    with pytest.raises(UnsupportedMedia, match="content type must be application/json") as raised:
        read_body(b"{}", kind, (), VECTOR)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("depth", [3, 150, 500])
def test_lists_in_lists_are_read_or_refused_never_more(depth: int):
    for read, body in (
        (from_json, json.dumps({"observation": nested(depth)})),
        (from_msgpack, msgpack.packb({"observation": nested(depth)})),
    ):
        try:
            found = read(body).observation
        except BadRequest:
            found = "refused"
        assert found in (nested(depth), "refused")

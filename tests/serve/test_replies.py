"""From what was found to what is sent."""

from __future__ import annotations

import json
from typing import Any, cast

import msgpack
import numpy as np
import pytest

from rllib_ez.core.types import SearchResult
from serve.lanes import Answered
from serve.models import Found, ServedModel
from serve.query import Query
from serve.replies import act_reply, encoded
from serve.service import Outcome
from tests.serve.agents import VECTOR


class Trace:
    """Of two searches."""

    q = np.array([[0.5, np.nan], [1.0, 2.0]], np.float32)
    principal_variation = np.array([[0, 1, -1], [1, -1, -1]], np.int32)


class Result:
    """Of two searches."""

    policy = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    visit_counts = np.array([[2, 6], [4, 0]], np.int32)
    root_value = np.array([1.5, -2.0], np.float32)
    trace = Trace()


class Model:
    """Who answered."""

    name, version, card = "vector", 3, VECTOR


def outcome(*, count: int, is_batch: bool, include: set[str], drawn: bool = False) -> Outcome:
    query = Query(
        observations=np.zeros((count, 1, 4), np.float32),
        num_simulations=np.array([8, 9][:count], np.int32),
        legal=None,
        seeds=np.array([5, 2**64 - 1][:count], np.uint64),
        deterministic=not drawn,
        temperature=1.0,
        include=frozenset(include),
        is_batch=is_batch,
        drawn_seed=drawn,
    )
    result = cast(SearchResult, Result())
    found = Found(np.array([1, 0][:count]), result, cast(ServedModel, Model()))
    return Outcome(query, Answered(found, 0.001, 0.0025, 7), 0.0040004)


ALL = {"policy", "visits", "value", "q", "principal_variation"}


def test_a_batch_is_told_in_lists():
    reply = act_reply(outcome(count=2, is_batch=True, include=ALL, drawn=True), request_id="id")
    assert reply == {
        "actions": [1, 0],
        "policy": [[0.25, 0.75], [1.0, 0.0]],
        "visits": [[2, 6], [4, 0]],
        "value": [1.5, -2.0],
        "q": [[0.5, None], [1.0, 2.0]],
        "principal_variation": [[0, 1], [1]],
        "simulations": [8, 9],
        "seed": [5, 2**64 - 1],
        "model": {"name": "vector", "version": 3, "step": 100},
        "timing_ms": {"queue": 1.0, "search": 2.5, "total": 4.0},
        "batch_size": 7,
        "request_id": "id",
    }


def test_one_observation_is_told_without_lists():
    reply = act_reply(outcome(count=1, is_batch=False, include=ALL), request_id="id")
    assert {name: reply[name] for name in ("action", *ALL, "simulations")} == {
        "action": 1,
        "policy": [0.25, 0.75],
        "visits": [2, 6],
        "value": 1.5,
        "q": [0.5, None],
        "principal_variation": [0, 1],
        "simulations": 8,
    }
    assert "seed" not in reply
    assert "actions" not in reply


@pytest.mark.parametrize("name", sorted(ALL))
def test_only_what_was_asked_for_is_told(name: str):
    reply = act_reply(outcome(count=1, is_batch=False, include={name}), request_id="id")
    assert reply.keys() & ALL == {name}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/x-msgpack", "application/msgpack"),
        ("text/html, application/msgpack;q=0.9", "application/msgpack"),
    ],
)
def test_msgpack_is_for_who_names_it(accept: str, kind: str):
    given: Any = {"value": 1.5, "q": [None], "seed": 2**64 - 1}
    body, told = encoded(given, accept=accept)
    assert told == kind
    read = msgpack.unpackb if kind.endswith("msgpack") else json.loads
    assert read(body) == given

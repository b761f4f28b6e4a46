"""The schemas: what is sent is what is described."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from serve.schema import ActReply, ActRequest, Array, ErrorReply, Health, LoadRequest, ModelInfo
from tests.serve.apps import Served, serving


@pytest.fixture(scope="module")
def served(vector_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent}) as one:
        yield one


def undescribed(model: type[BaseModel], given: object) -> set[str]:
    """Fields of a reply that its schema does not have, once it has been validated."""
    model.model_validate(given, strict=True)
    assert isinstance(given, dict)
    return set(given) - set(model.model_fields)


@pytest.mark.parametrize("model", [ActRequest, LoadRequest, Array])
def test_requests_refuse_what_they_do_not_know(model: type[BaseModel]):
    config: ConfigDict = model.model_config
    assert (config["extra"], config["strict"]) == ("forbid", True)


def test_replies_are_as_described(served: Served):
    include = ["policy", "visits", "value", "q", "principal_variation"]
    one = {"observation": [0, 0, 0, 0], "include": include, "deterministic": False}
    many = {**one, "observations": [[0, 0, 0, 0]] * 2}
    del many["observation"]
    for body in (one, many):
        assert undescribed(ActReply, served.act(body).json()) == set()
    assert undescribed(ModelInfo, served.client.get("/v1/models/vector").json()) == set()
    assert undescribed(ErrorReply, served.client.get("/v1/models/x").json()) == set()
    assert undescribed(Health, served.client.get("/healthz").json()) == set()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_array_is_read_from_base64_and_from_bytes(dtype: str):
    numbers = np.arange(6, dtype=dtype).reshape(2, 3)
    for data in (numbers.tobytes(), base64.b64encode(numbers.tobytes()).decode()):
        got = Array(data=data, shape=[2, 3], dtype=dtype).decode()  # type: ignore[arg-type]
        np.testing.assert_array_equal(got, numbers, strict=True)


def test_an_array_without_axes_is_a_number():
    assert Array(data=b"\x07", shape=[], dtype="uint8").decode() == 7


@pytest.mark.parametrize(
    ("data", "shape", "match"),
    [
        ("####", [1], "must have base64 as data"),
        ("QQ", [1], "must have base64 as data"),
        ("Q Q=", [1], "must have base64 as data"),
        (b"ab", [1], "must have 1 bytes as data for uint8 of shape .1., got 2"),
        (b"", [1], "must have 1 bytes as data"),
        (b"", [0, 2**31, 2**31, 2**31], "must have a shape that can be"),
    ],
)
def test_an_array_that_is_none_is_refused(data: str | bytes, shape: list[int], match: str):
    with pytest.raises(ValueError, match=match):
        Array(data=data, shape=shape, dtype="uint8").decode()


def test_observations_are_read_as_they_are():
    request = ActRequest.model_validate({"observation": [[1, 0.5]], "seed": [1, 2]})
    assert request.observation == [[1, 0.5]]
    assert ActRequest.model_validate({"observation": None}).observation is None
    array = {"data": b"a", "shape": [1], "dtype": "uint8"}
    assert ActRequest.model_validate({"observation": array}).observation == Array(**array)

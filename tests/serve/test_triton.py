"""NVIDIA's own client of the Open Inference Protocol, against a true server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from rllib_ez.agent import Agent
from tests.serve.apps import listening

PIXELS = np.random.default_rng(9).integers(256, size=(3, 3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def client(vector_agent: Path, pixel_agent: Path) -> Iterator[Any]:
    with listening({"vector": vector_agent, "pixel": pixel_agent}) as (port, _):
        one = triton.InferenceServerClient(f"127.0.0.1:{port}")
        yield one
        one.close()


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def test_the_server_and_its_models_are_alive_and_ready(client: Any):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("vector")
    assert client.is_model_ready("vector", "1")
    assert not client.is_model_ready("none")
    assert not client.is_model_ready("vector", "2")


def test_the_models_are_listed(client: Any):
    found = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert found == {"vector": "READY", "pixel": "READY"}


def test_the_server_tells_who_it_is(client: Any):
    told = client.get_server_metadata()
    assert told["name"] == "rllib_ez"
    assert "binary_tensor_data" in told["extensions"]


def test_a_model_tells_its_space(client: Any):
    told = client.get_model_metadata("pixel")
    assert told["inputs"] == [
        {"name": "observation", "datatype": "UINT8", "shape": [-1, 3, 32, 32, 3]}
    ]
    config = client.get_model_config("pixel")
    dims = [3, 32, 32, 3]
    assert config["input"] == [{"name": "observation", "data_type": "TYPE_UINT8", "dims": dims}]
    assert config["max_batch_size"] == 64


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("outputs_as_bytes", [False, True])
def test_an_inference_is_the_agents_own(
    client: Any, pixel_agent: Path, binary: bool, outputs_as_bytes: bool
):
    seeds, budget = np.array([1, 2**63, 3], np.uint64), np.array([8, 3, 20], np.int32)
    mask = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0]], np.bool_)
    inputs = [
        tensor("observation", PIXELS, "UINT8", binary=binary),
        tensor("seed", seeds, "UINT64", binary=binary),
        tensor("simulations", budget, "INT32", binary=binary),
        tensor("legal_actions", mask, "BOOL", binary=binary),
    ]
    names = ("action", "value", "policy", "visits", "q")
    outputs = [triton.InferRequestedOutput(n, binary_data=outputs_as_bytes) for n in names]
    got = client.infer("pixel", inputs, outputs=outputs, request_id="mine")
    agent = Agent.load(pixel_agent)
    expected = agent.search(PIXELS, seeds=seeds, num_simulations=budget, legal=mask, trace=True)
    assert got.get_response()["id"] == "mine"
    np.testing.assert_array_equal(got.as_numpy("action"), expected.action, strict=True)
    np.testing.assert_array_equal(got.as_numpy("policy"), expected.policy, strict=True)
    np.testing.assert_array_equal(got.as_numpy("value"), expected.root_value, strict=True)
    np.testing.assert_array_equal(got.as_numpy("visits"), expected.visit_counts)
    if outputs_as_bytes:
        assert expected.trace is not None
        np.testing.assert_array_equal(got.as_numpy("q"), expected.trace.q, strict=True)


def test_outputs_that_are_not_named_come_as_bytes(client: Any):
    got = client.infer("vector", [tensor("observation", np.zeros((2, 1, 4), np.float32), "FP32")])
    assert got.as_numpy("action").shape == (2,)
    assert got.as_numpy("policy").shape == (2, 2)
    assert got.get_response()["model_version"] == "1"


def test_statistics_count_inferences(client: Any):
    before = client.get_inference_statistics("vector")["model_stats"][0]
    client.infer("vector", [tensor("observation", np.zeros((2, 1, 4), np.float32), "FP32")])
    after = client.get_inference_statistics("vector")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["inference_stats"]["compute_infer"]["ns"] > 0


ZEROS = np.zeros((1, 1, 4), np.float32)


@pytest.mark.parametrize(
    ("model", "options", "match"),
    [
        ("none", {}, "model must be one of"),
        ("vector", {"model_version": "7"}, "version of vector must be 1, got '7'"),
        ("pixel", {}, "observations must be uint8 of shape"),
        ("vector", {"request_compression_algorithm": "gzip"}, "content encoding must be identity"),
        ("vector", {"sequence_id": 4}, "sequence_id is not a field that is known"),
        ("vector", {"priority": 1}, "priority is not a field that is known"),
        ("vector", {"outputs": [triton.InferRequestedOutput("x")]}, "outputs must be among"),
    ],
)
def test_what_is_refused_is_told(client: Any, model: str, options: dict[str, Any], match: str):
    with pytest.raises(InferenceServerException, match=match):
        client.infer(model, [tensor("observation", ZEROS, "FP32")], **options)


def test_compressed_replies_are_not_needed(client: Any):
    got = client.infer(
        "vector",
        [tensor("observation", ZEROS, "FP32")],
        response_compression_algorithm="gzip",
    )
    assert got.as_numpy("action").shape == (1,)

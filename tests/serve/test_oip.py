"""The Open Inference Protocol: the same answers, as its clients ask for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serve.errors import BadRequest, Unprocessable
from serve.oip import read_inference, written
from tests.serve.apps import Served, serving

RNG = np.random.default_rng(6)
VECTORS = RNG.standard_normal((3, 1, 4)).astype(np.float32)
PIXELS = RNG.integers(256, size=(2, 3, 32, 32, 3), dtype=np.uint8)
DTYPES = {"float32": "FP32", "uint8": "UINT8", "uint64": "UINT64", "int32": "INT32", "bool": "BOOL"}
OUTPUTS = ("action", "value", "policy", "visits", "q")


@pytest.fixture(scope="module")
def served(vector_agent: Path, pixel_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent, "pixel": pixel_agent}) as one:
        yield one


def tensor(name: str, array: np.ndarray, *, binary: bool = False) -> dict[str, Any]:
    head = {"name": name, "datatype": DTYPES[array.dtype.name], "shape": list(array.shape)}
    if binary:
        return {**head, "parameters": {"binary_data_size": array.nbytes}}
    return {**head, "data": array.ravel().tolist()}


def infer(
    served: Served,
    inputs: dict[str, np.ndarray],
    *,
    model: str = "vector",
    binary: bool,
    **head: Any,
) -> httpx.Response:
    tensors = [tensor(name, array, binary=binary) for name, array in inputs.items()]
    body = json.dumps({"inputs": tensors, **head}).encode()
    headers = {}
    if binary:
        headers["Inference-Header-Content-Length"] = str(len(body))
        body += b"".join(array.tobytes() for array in inputs.values())
    return served.client.post(f"/v2/models/{model}/infer", content=body, headers=headers)


def read(response: httpx.Response) -> dict[str, Any]:
    """Names of outputs and their numbers, flat."""
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    end = len(response.content) if length is None else int(length)
    tail, found = response.content[end:], {}
    for output in json.loads(response.content[:end])["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        dtype = {"FP32": "<f4", "INT64": "<i8", "INT32": "<i4"}[output["datatype"]]
        found[output["name"]] = np.frombuffer(tail[:size], dtype).tolist()
        tail = tail[size:]
    assert not tail
    return found


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("name", "sent"), [("vector", VECTORS), ("pixel", PIXELS)])
def test_an_inference_gives_what_act_gives(
    served: Served, name: str, sent: np.ndarray, binary: bool
):
    include = "policy,visits,value"
    expected = served.raw(sent, model=name, include=include)
    wanted = [{"name": n, "parameters": {"binary_data": binary}} for n in OUTPUTS]
    got = read(infer(served, {"observation": sent}, model=name, binary=binary, outputs=wanted))
    assert got["action"] == expected["actions"]
    assert got["value"] == expected["value"]
    for key in ("policy", "visits"):
        assert got[key] == np.ravel(expected[key]).tolist()


@pytest.mark.parametrize("binary", [False, True])
def test_seeds_budgets_and_masks_are_inputs(served: Served, binary: bool):
    options = {"seed": [1, 2**64 - 1, 3], "simulations": [2, 9, 30]}
    legal = [[0, 1], [1], [0]]
    body = {"observations": VECTORS.tolist(), "legal_actions": legal, **options}
    expected = served.act({**body, "include": ["value", "policy"]}).json()
    inputs = {
        "legal_actions": np.array([[1, 1], [0, 1], [1, 0]], np.bool_),
        "observation": VECTORS,
        "seed": np.array(options["seed"], np.uint64),
        "simulations": np.array(options["simulations"], np.int32),
    }
    got = read(infer(served, inputs, binary=binary))
    assert (got["action"], got["value"]) == (expected["actions"], expected["value"])
    assert got["policy"] == np.ravel(expected["policy"]).tolist()


def test_what_was_never_tried_is_null_in_json_and_nan_in_bytes(served: Served):
    inputs = {"observation": VECTORS[:1], "simulations": np.array([1], np.int32)}
    q = read(infer(served, inputs, binary=False, outputs=[{"name": "q"}]))["q"]
    assert q.count(None) == 1
    parameters = {"binary_data_output": True}
    got = infer(served, inputs, binary=True, outputs=[{"name": "q"}], parameters=parameters)
    assert np.isnan(read(got)["q"]).tolist() == [x is None for x in q]


def test_parameters_say_how_to_search(served: Served):
    seeds = np.arange(30, dtype=np.uint64)
    inputs = {"observation": np.repeat(VECTORS[:1], 30, axis=0), "seed": seeds}
    options = {"deterministic": False, "temperature": 3.0}
    body = {"observations": inputs["observation"].tolist(), "seed": seeds.tolist(), **options}
    got = read(infer(served, inputs, binary=False, parameters=options))
    assert got["action"] == served.act(body).json()["actions"]
    assert len(set(got["action"])) == 2


def test_a_reply_names_its_model_and_brings_the_id_back(served: Served):
    reply = infer(served, {"observation": VECTORS}, binary=False, id="mine").json()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("vector", "1", "mine")
    assert [o["name"] for o in reply["outputs"]] == ["action", "value", "policy"]
    assert [o["shape"] for o in reply["outputs"]] == [[3], [3], [3, 2]]


@pytest.mark.parametrize("path", ["/v2/models/vector", "/v2/models/vector/versions/1"])
def test_a_model_tells_names_datatypes_and_shapes(served: Served, path: str):
    told = served.client.get(path).json()
    assert told["inputs"] == [{"name": "observation", "datatype": "FP32", "shape": [-1, 1, 4]}]
    assert {o["name"]: (o["datatype"], o["shape"]) for o in told["outputs"]} == {
        "action": ("INT64", [-1]),
        "value": ("FP32", [-1]),
        "policy": ("FP32", [-1, 2]),
        "visits": ("INT32", [-1, 2]),
        "q": ("FP32", [-1, 2]),
    }
    assert (told["name"], told["versions"]) == ("vector", ["1"])


def test_the_index_lists_every_model(served: Served):
    ready = {"version": "1", "state": "READY", "reason": ""}
    expected = [{"name": "vector", **ready}, {"name": "pixel", **ready}]
    for body in (b"", b"{}", b'{"ready": true}'):
        assert served.client.post("/v2/repository/index", content=body).json() == expected
    assert served.client.post("/v2/repository/index", content=b'{"x": 1}').status_code == 422


@pytest.mark.parametrize("tail", ["", "/ready", "/config", "/stats", "/infer"])
@pytest.mark.parametrize("head", ["none", "vector/versions/2", "vector/versions/" + "9" * 5000])
def test_an_unknown_model_or_version_is_told_as_text(served: Served, head: str, tail: str):
    method = "POST" if tail == "/infer" else "GET"
    got = served.client.request(method, f"/v2/models/{head}{tail}")
    assert got.status_code == 404
    assert isinstance(got.json()["error"], str)
    assert len(got.text) < 200


@pytest.mark.parametrize(("path", "status"), [("/v2/none", 404), ("/v2/models/vector/infer", 405)])
def test_what_the_router_refuses_is_told_as_text_too(served: Served, path: str, status: int):
    got = served.client.get(path)
    assert got.status_code == status
    assert isinstance(got.json()["error"], str)


def test_another_shape_is_refused_with_the_one_expected(served: Served):
    got = infer(served, {"observation": VECTORS[:, :, :3]}, binary=True)
    assert got.status_code == 422
    assert "float32 of shape ['n', 1, 4]" in got.json()["error"]


GOOD = {"name": "observation", "datatype": "FP32", "shape": [1, 1, 4], "data": [0, 0, 0, 0]}
MASK = {"name": "legal_actions", "datatype": "FP32", "shape": [1, 2], "data": [1, 0]}
BYTES = {k: v for k, v in GOOD.items() if k != "data"}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"datatype": "FP64"}, BadRequest, "datatype of 'observation' must be one of BOOL"),
        ({"datatype": "BYTES"}, BadRequest, "datatype of 'observation' must be one of BOOL"),
        ({"datatype": "F" * 17}, Unprocessable, r"inputs\.0\.datatype"),
        ({"name": "n" * 129}, Unprocessable, r"inputs\.0\.name"),
        ({"shape": [-1, 1, 4]}, Unprocessable, r"inputs\.0\.shape\.0"),
        ({"shape": [1, 1, 2**31]}, Unprocessable, r"inputs\.0\.shape\.2"),
        ({"shape": ["1", 1, 4]}, Unprocessable, r"inputs\.0\.shape\.0"),
        ({"shape": [1] * 9}, Unprocessable, r"inputs\.0\.shape"),
        ({"shape": [1, 1, 5]}, BadRequest, "must be 5 numbers of FP32: got 4 numbers"),
        ({"shape": [0] + [2**31 - 1] * 7, "data": []}, BadRequest, "shape of 'observation'"),
        ({"data": ["a", 0, 0, 0]}, BadRequest, "must hold numbers, got int, str"),
        ({"data": [True, 0, 0, 0]}, BadRequest, "must hold numbers, got bool, int"),
        ({"data": [True] * 4}, BadRequest, "got bool"),
        ({"data": [[0, 0], [0]]}, BadRequest, "rows of equal length"),
        ({"data": None}, BadRequest, "got 0 numbers"),
        ({"datatype": "UINT8", "data": [256, 0, 0, 0]}, BadRequest, "out of its range"),
        ({"datatype": "UINT8", "data": [-1, 0, 0, 0]}, BadRequest, "out of its range"),
        ({"datatype": "INT64", "data": [0.5, 0, 0, 0]}, BadRequest, "out of its range"),
        ({"datatype": "INT64", "data": [2**64, 0, 0, 0]}, BadRequest, "64 bits"),
        ({"datatype": "BOOL", "data": [1, 0, 0, 0]}, BadRequest, "got int64"),
        ({"parameters": {"x": 1}}, Unprocessable, "x is not a field that is known"),
        ({"parameters": {"binary_data_size": 16}}, BadRequest, "got both"),
        ({"x": 1}, Unprocessable, "x is not a field that is known"),
    ],
)
def test_a_wrong_tensor_is_told(change: dict[str, Any], error: type[Exception], match: str):
    body = json.dumps({"inputs": [{**GOOD, **change}]}).encode()
    with pytest.raises(error, match=match) as raised:
        read_inference(body, None)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("size", [15, 17, 0, 2**70])
def test_a_wrong_number_of_bytes_is_told(size: int):
    head = json.dumps({"inputs": [{**BYTES, "parameters": {"binary_data_size": size}}]}).encode()
    with pytest.raises(BadRequest, match="binary_data_size of 'observation' must be 16"):
        read_inference(head + bytes(16), str(len(head)))


@pytest.mark.parametrize("size", [16.0, True, "16", -1])
def test_a_size_must_be_an_integer(size: Any):
    head = json.dumps({"inputs": [{**BYTES, "parameters": {"binary_data_size": size}}]}).encode()
    with pytest.raises(Unprocessable, match=r"inputs\.0\.parameters\.binary_data_size"):
        read_inference(head + bytes(16), str(len(head)))


@pytest.mark.parametrize("count", [15, 17])
def test_the_bytes_must_end_with_the_last_tensor(count: int):
    head = json.dumps({"inputs": [{**BYTES, "parameters": {"binary_data_size": 16}}]}).encode()
    with pytest.raises(BadRequest, match="bytes"):
        read_inference(head + bytes(count), str(len(head)))


@pytest.mark.parametrize("length", ["", "-1", "x", "²", "1.0", "9" * 5000, "40", " 2", "2\n"])
def test_a_wrong_header_length_is_told(length: str):
    with pytest.raises(BadRequest, match=r"must be 0 \.\. 2, the body's length") as raised:
        read_inference(b"{}", length)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"sequence_id": 1},
        {"priority": 1},
        {"timeout": 1},
        {"binary_data_output": 1},
        {"deterministic": "no"},
        {"temperature": 0},
        {"deadline_ms": -1},
    ],
)
def test_parameters_that_are_not_heeded_are_refused(parameters: dict[str, Any]):
    body = json.dumps({"inputs": [GOOD], "parameters": parameters}).encode()
    with pytest.raises(Unprocessable, match=rf"^parameters\.{next(iter(parameters))}"):
        read_inference(body, None)


def test_an_input_that_is_named_twice_is_refused():
    with pytest.raises(BadRequest, match="named once each, got 'observation' again"):
        read_inference(json.dumps({"inputs": [GOOD, GOOD]}).encode(), None)


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ({"inputs": []}, "inputs must hold 'observation'"),
        ({"inputs": [{**GOOD, "name": "obs"}]}, "inputs must hold 'observation'"),
        ({"inputs": [GOOD, {**GOOD, "name": "x"}]}, "inputs must be among"),
        ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, "outputs must be among"),
        ({"inputs": [GOOD, {**GOOD, "name": "legal_actions"}]}, r"must be a mask \[n, 2\]"),
        ({"inputs": [GOOD, {**GOOD, "name": "seed"}]}, "seed"),
        ({"inputs": [GOOD, MASK]}, r"BOOL or integers, got float32 of shape \[1, 2\]"),
        (
            {"inputs": [GOOD], "outputs": [{"name": "q", "parameters": {"classification": 1}}]},
            "cla",
        ),
    ],
)
def test_names_that_are_not_known_are_refused(served: Served, head: dict[str, Any], match: str):
    got = served.client.post("/v2/models/vector/infer", json=head)
    assert got.status_code == 422
    assert re.search(match, got.json()["error"])


def test_bytes_of_a_reply_follow_its_json():
    numbers = np.array([1.5, np.nan], np.float32)
    body, length = written({"id": "a"}, {"q": (numbers, True), "value": (numbers, False)})
    told = json.loads(body[:length])
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert told["outputs"][1]["data"] == [1.5, None]
    assert body[length:] == numbers.tobytes()

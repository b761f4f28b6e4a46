"""`act`: however an observation is sent, and whatever is searched beside it, the answer is that
of the agent called here."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from rllib_ez.agent import Agent
from rllib_ez.core.random import Stream, generator
from rllib_ez.core.search.search import sample_actions
from tests.serve.apps import JSON, MSGPACK, RAW, Held, Served, error_of, serving

INCLUDE = ["policy", "visits", "value", "q", "principal_variation"]
RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((6, 1, 4)).astype(np.float32)
PIXELS = RNG.integers(256, size=(4, 3, 32, 32, 3), dtype=np.uint8)
SENT = {"vector": VECTORS, "pixel": PIXELS}


@pytest.fixture(scope="module")
def served(vector_agent: Path, pixel_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent, "pixel": pixel_agent}) as one:
        yield one


@pytest.fixture(scope="module")
def agents(vector_agent: Path, pixel_agent: Path) -> dict[str, Agent]:
    return {"vector": Agent.load(vector_agent), "pixel": Agent.load(pixel_agent)}


def encoded(observations: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(observations.tobytes()).decode()
    return {"data": data, "shape": list(observations.shape), "dtype": str(observations.dtype)}


def told(reply: dict[str, Any]) -> list[Any]:
    """What the search found, of a batch."""
    return [reply[name] for name in ("actions", *INCLUDE)]


def found(agent: Agent, observations: np.ndarray, **options: Any) -> list[Any]:
    """The same of the agent called here."""
    seeds = options.pop("seeds", np.zeros(len(observations), np.uint64))
    result = agent.search(observations, seeds=seeds, trace=True, **options)
    assert result.trace is not None
    return [
        result.action.tolist(),
        result.policy.tolist(),
        result.visit_counts.tolist(),
        result.root_value.tolist(),
        [[None if np.isnan(q) else float(q) for q in row] for row in result.trace.q],
        [row[row >= 0].tolist() for row in result.trace.principal_variation],
    ]


def as_raw(served: Served, name: str, observations: np.ndarray) -> dict[str, Any]:
    return served.raw(observations, model=name, include=",".join(INCLUDE), batch="true")


def as_json(served: Served, name: str, observations: np.ndarray) -> dict[str, Any]:
    body = {"observations": observations.tolist(), "include": INCLUDE}
    return served.act(body, model=name).json()


def as_json_bytes(served: Served, name: str, observations: np.ndarray) -> dict[str, Any]:
    body = {"observations": encoded(observations), "include": INCLUDE}
    return served.act(body, model=name).json()


def as_msgpack(served: Served, name: str, observations: np.ndarray) -> dict[str, Any]:
    body = {"observations": observations.tolist(), "include": INCLUDE}
    headers = {"content-type": MSGPACK, "accept": MSGPACK}
    got = served.act(msgpack.packb(body), model=name, headers=headers)
    assert got.headers["content-type"] == MSGPACK
    return msgpack.unpackb(got.content)


def as_msgpack_bytes(served: Served, name: str, observations: np.ndarray) -> dict[str, Any]:
    array = {**encoded(observations), "data": observations.tobytes()}
    body = msgpack.packb({"observations": array, "include": INCLUDE})
    return served.act(body, model=name, headers={"content-type": "application/x-msgpack"}).json()


@pytest.mark.parametrize("name", ["vector", "pixel"])
@pytest.mark.parametrize("send", [as_raw, as_json, as_json_bytes, as_msgpack, as_msgpack_bytes])
def test_every_encoding_gets_the_agents_own_answer(
    served: Served, agents: dict[str, Agent], name: str, send: Any
):
    assert told(send(served, name, SENT[name])) == found(agents[name], SENT[name])


@pytest.mark.parametrize("name", ["vector", "pixel"])
def test_a_single_observation_is_answered_without_lists(
    served: Served, agents: dict[str, Agent], name: str
):
    one = SENT[name][:1]
    reply = served.raw(one, model=name, include=",".join(INCLUDE))
    alone = [reply[key] for key in ("action", *INCLUDE)]
    assert alone == [column[0] for column in found(agents[name], one)]


def test_a_mixed_batch_is_answered_as_the_agent_does(served: Served, agents: dict[str, Agent]):
    simulations, seeds = [2, 8, 30], [1, 2**64 - 1, 7]
    legal = [[0, 1], [1], [0]]
    mask = np.array([[1, 1], [0, 1], [1, 0]], np.bool_)
    options = {"simulations": simulations, "seed": seeds, "legal_actions": legal}
    reply = served.act({"observations": VECTORS[:3].tolist(), "include": INCLUDE, **options}).json()
    budget = np.array(simulations, np.int32)
    expected = found(
        agents["vector"],
        VECTORS[:3],
        legal=mask,
        seeds=np.array(seeds, np.uint64),
        num_simulations=budget,
    )
    assert told(reply) == expected
    assert reply["simulations"] == simulations


def test_the_query_string_of_raw_bytes_says_the_same(served: Served):
    options = {"simulations": [2, 9], "seed": [3, 4], "legal_actions": [[0, 1], [1]]}
    body = {"observations": VECTORS[:2].tolist(), "include": INCLUDE, **options}
    query = {"simulations": "2,9", "seed": "3,4", "legal_actions": "0,1;1"}
    raw = served.raw(VECTORS[:2], include=",".join(INCLUDE), **query)
    assert told(raw) == told(served.act(body).json())


def test_a_batch_of_one_may_name_its_actions_without_a_semicolon(served: Served):
    assert served.raw(VECTORS[:1], batch="true", legal_actions="1")["actions"] == [1]


def test_a_first_frame_fills_the_stack(served: Served, agents: dict[str, Agent]):
    frame = PIXELS[0, 0]
    filled = np.stack([frame] * 3)[None]
    expected = [column[0] for column in found(agents["pixel"], filled)]
    reply = served.raw(frame, model="pixel", include=",".join(INCLUDE))
    assert [reply[key] for key in ("action", *INCLUDE)] == expected


def test_many_first_frames_fill_their_stacks(served: Served, agents: dict[str, Agent]):
    frames = PIXELS[:, 0]
    filled = np.repeat(frames[:, None], 3, axis=1)
    assert told(as_json_bytes(served, "pixel", frames)) == found(agents["pixel"], filled)


def test_a_drawn_action_is_the_seeds_own(served: Served, agents: dict[str, Agent]):
    seeds = np.arange(40, dtype=np.uint64)
    stacks = np.repeat(VECTORS[:1], 40, axis=0)
    counts = agents["vector"].search(stacks, seeds=seeds).visit_counts
    expected = [
        int(
            sample_actions(counts[i : i + 1], temperature=3.0, rng=generator(i, Stream.SERVE, 0))[0]
        )
        for i in range(40)
    ]
    body = {"observations": stacks.tolist(), "seed": seeds.tolist(), "deterministic": False}
    assert served.act({**body, "temperature": 3.0}).json()["actions"] == expected
    assert len(set(expected)) == 2


def test_a_seed_repeats_itself_whatever_is_searched_beside_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    body = {"observation": VECTORS[0].tolist(), "seed": 11, "deterministic": False}
    alone = served.act({**body, "include": INCLUDE}).json()
    other = {"observations": VECTORS.tolist(), "deterministic": False, "simulations": 20}
    held = Held(served, monkeypatch)
    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(served.act, other)]
        assert held.has_begun.wait(20)
        mine = [pool.submit(served.act, {**body, "include": INCLUDE}) for _ in range(4)]
        others += [pool.submit(served.act, other) for _ in range(4)]
        held.wait_until_queued(28)
        held.go.set()
    assert {one.result().status_code for one in others} == {200}
    for one in [found.result().json() for found in mine]:
        assert one["batch_size"] == 28
        assert [one[k] for k in ("action", *INCLUDE)] == [alone[k] for k in ("action", *INCLUDE)]


def test_a_seed_that_the_service_draws_is_told_and_repeats_the_reply(served: Served):
    body = {"observations": VECTORS.tolist(), "deterministic": False, "include": ["policy"]}
    first = served.act(body).json()
    again = served.act({**body, "seed": first["seed"]}).json()
    assert (first["actions"], first["policy"]) == (again["actions"], again["policy"])
    assert "seed" not in again


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1000.0])
def test_any_temperature_gives_an_action(served: Served, temperature: float):
    body = {"observation": VECTORS[0].tolist(), "deterministic": False, "temperature": temperature}
    assert served.act(body).json()["action"] in (0, 1)


def test_only_what_was_asked_for_is_told(served: Served):
    reply = served.act({"observation": VECTORS[0].tolist()}).json()
    always = {"action", "simulations", "model", "timing_ms", "batch_size", "request_id"}
    assert reply.keys() == always
    assert reply["model"] == {"name": "vector", "version": 1, "step": 100}
    assert reply["timing_ms"].keys() == {"queue", "search", "total"}


def test_the_default_model_is_the_first(served: Served):
    got = served.client.post("/v1/act", json={"observation": VECTORS[0].tolist()})
    assert got.json()["model"]["name"] == "vector"


def test_a_msgpack_reply_is_given_to_who_accepts_it(served: Served):
    body = {"observation": VECTORS[0].tolist(), "include": ["q"], "simulations": 1}
    reply = msgpack.unpackb(served.act(body, headers={"accept": MSGPACK}).content)
    assert None in reply["q"]  # of two actions one was tried


def test_an_error_is_json_whatever_is_accepted(served: Served):
    got = served.act({"observation": [1, 2]}, headers={"accept": MSGPACK})
    assert error_of(got, 422)["code"] == "invalid_observation"


def test_a_frame_must_be_of_the_space(served: Served):
    error = error_of(served.act({"observation": [[1, 2, 3]]}), 422)
    assert error["code"] == "invalid_observation"
    assert error["details"] == {
        "expected": {"shape": [1, 4], "dtype": "float32"},
        "got": {"shape": [1, 3], "dtype": "float32"},
    }


def test_raw_bytes_of_another_length_are_refused(served: Served):
    got = served.act(b"x" * 20, headers={"content-type": RAW})
    error = error_of(got, 422)
    assert error["details"]["expected"] == {"shape": ["n", 1, 4], "dtype": "float32", "bytes": 16}
    assert error["details"]["got"] == {"bytes": 20}


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/jsonp", "multipart/form"])
def test_another_content_type_is_refused(served: Served, content_type: str):
    got = served.act(b"{}", headers={"content-type": content_type})
    assert error_of(got, 415)["code"] == "unsupported_media_type"


def test_a_charset_beside_the_content_type_is_fine(served: Served):
    headers = {"content-type": f"{JSON}; charset=utf-8"}
    assert served.act(b'{"observation": [0, 0, 0, 0]}', headers=headers).status_code == 200


def test_fields_in_the_query_string_are_for_raw_bytes_only(served: Served):
    got = served.act({"observation": [0, 0, 0, 0]}, params={"seed": 1})
    assert error_of(got, 422)["details"]["fields"] == ["seed"]


def test_what_is_too_late_is_told_so(served: Served):
    got = served.act({"observation": [0, 0, 0, 0], "deadline_ms": 1e-6})
    assert error_of(got, 408)["code"] == "deadline_exceeded"


def test_an_unknown_model_is_told_so(served: Served):
    error = error_of(served.act({"observation": [0]}, model="other"), 404)
    assert error["code"] == "model_not_found"


def test_the_models_are_told_with_the_default_one_first(served: Served):
    models = served.client.get("/v1/models").json()["models"]
    assert [(m["name"], m["default"]) for m in models] == [("vector", True), ("pixel", False)]
    assert models[1] == served.client.get("/v1/models/pixel").json()
    assert models[1]["observation"] == {
        "shape": [3, 32, 32, 3],
        "frame_shape": [32, 32, 3],
        "frame_stack": 3,
        "dtype": "uint8",
    }
    assert models[1]["actions"] == {"n": 3}
    assert models[1]["simulations"] == {"default": 8, "max": 400}

"""The document at /openapi.json, and whether the service does what it says.

EZ_SCHEMA_EXAMPLES=200 looks longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from serve.schema import ActRequest
from tests.serve.apps import CLIENT, JSON, MSGPACK, RAW, Served, bearer, serving, token_file

EXAMPLES = int(os.environ.get("EZ_SCHEMA_EXAMPLES", "3"))
# Numbers of any shape fit the schema, and only those of the model's space are accepted.
UNFIT = ("positive_data_acceptance", "use_after_free", "ensure_resource_availability")


@schemathesis.serializer(MSGPACK)
def as_msgpack(context: Any, value: Any) -> bytes:
    try:
        return msgpack.packb(value)
    except (OverflowError, TypeError, ValueError):  # integers beyond 64 bits
        return b"\xc1"


@pytest.fixture(scope="module")
def served(vector_agent: Path) -> Iterator[Served]:
    with serving({"vector": vector_agent}) as one:
        yield one


@pytest.fixture(scope="module")
def guarded(vector_agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    tokens = token_file(tmp_path_factory.mktemp("tokens"))
    with serving({"vector": vector_agent}, token_file=tokens) as one:
        yield one


@pytest.fixture(scope="module")
def document(served: Served) -> Any:
    return served.client.get("/openapi.json").json()


def act_of(document: Any) -> Any:
    return document["paths"]["/v1/models/{name}/act"]["post"]


def test_every_reference_of_the_document_leads_somewhere(document: Any):
    text, schemas = json.dumps(document), document["components"]["schemas"]
    named = set(re.findall(r'"#/([^"]+)"', text))
    assert named <= {f"components/schemas/{name}" for name in schemas}
    assert {"components/schemas/Array", "components/schemas/Numbers"} <= named
    assert "$defs" not in text
    assert schemas["Numbers"]["anyOf"][1]["items"] == {"$ref": "#/components/schemas/Numbers"}


def test_all_three_bodies_of_act_are_described(document: Any):
    content = act_of(document)["requestBody"]["content"]
    assert content[JSON]["schema"] == {"$ref": "#/components/schemas/ActRequest"}
    assert content[MSGPACK]["schema"]["$ref"] == "#/components/schemas/ActRequest"
    assert content[RAW]["schema"]["format"] == "binary"
    assert act_of(document) == {
        **document["paths"]["/v1/act"]["post"],
        **{k: act_of(document)[k] for k in ("summary", "description", "operationId", "parameters")},
    }


def test_every_option_is_described_as_a_query_parameter(document: Any):
    told = {p["name"]: p for p in act_of(document)["parameters"] if p["in"] == "query"}
    assert told.keys() == {*ActRequest.model_fields, "batch"} - {"observation", "observations"}
    assert all("None" not in p["description"] for p in told.values())


def test_both_encodings_of_the_reply_are_described(document: Any):
    content = act_of(document)["responses"]["200"]["content"]
    assert content.keys() == {JSON, MSGPACK}
    assert {*act_of(document)["responses"]} >= {"400", "408", "409", "413", "415", "422", "429"}


def test_the_examples_of_act_are_answered(served: Served, document: Any):
    examples = act_of(document)["requestBody"]["content"][JSON]["examples"]
    assert len(examples) >= 3
    for example in examples.values():
        assert served.client.post("/v1/act", json=example["value"]).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live"])
def test_open_paths_ask_for_nothing(guarded: Served, path: str):
    got = guarded.client.get("/openapi.json").json()["paths"]
    assert got[path]["get"]["security"] == []
    assert got["/metrics"]["get"]["security"] == [{"token": []}]


def test_a_token_is_told_to_be_a_bearers(guarded: Served):
    document = guarded.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"] == {
        "type": "http",
        "scheme": "bearer",
    }


def test_without_tokens_only_admins_are_told_to_have_one(document: Any):
    asking = {
        (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["security"]
    }
    assert asking == {
        ("post", "/v1/models/{name}/load"),
        ("post", "/v1/models/{name}/rollback"),
        ("delete", "/v1/models/{name}"),
    }


def test_the_page_of_documentation_is_there(served: Served):
    got = served.client.get("/docs")
    assert "swagger" in got.text


def in_its_own_loop(served: Served) -> Any:
    """The application for a caller with a loop of its own."""
    loop = served.client.portal.call(_running_loop)  # type: ignore[union-attr]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = asyncio.get_running_loop()

        async def receive_there() -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(receive(), own))

        async def send_there(message: Any) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(send(message), own))

        there = served.client.app(scope, receive_there, send_there)  # type: ignore[arg-type]
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there, loop))

    return app


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def looked_at(served: Served, *unfit: str, **changes: Any) -> tuple[list[str], int]:
    """What schemathesis finds wrong, and how many requests it made."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "continue-on-failure": True,
            "checks": {name: {"enabled": False} for name in (*UNFIT, *unfit)},
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True},
            "phases": {"stateful": {"enabled": False}},
            **changes,
        }
    )
    app = in_its_own_loop(served)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    wrong, count = [], 0
    for event in from_schema(schema).execute():
        assert not isinstance(event, FatalError), event
        if isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        if isinstance(event, ScenarioFinished):
            count += len(event.recorder.interactions)
            wrong += failures_of(event)
    return wrong, count


def failures_of(event: Any) -> list[str]:
    return [
        f"{event.label} ({event.phase.value}): {check.name}: {check.failure_info.failure}; "
        + check.failure_info.code_sample
        for checks in event.recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]


def test_the_service_does_what_it_says_of_itself(served: Served):
    # Without tokens there is no admin either: 403, whatever is sent.
    parameters = {"path.name": "vector", "path.version": "1"}
    wrong, count = looked_at(served, "missing_required_header", parameters=parameters)
    assert not wrong, "\n\n".join(wrong)
    assert count > 500


def test_it_does_so_too_where_it_asks_for_tokens(guarded: Served):
    wrong, count = looked_at(guarded, headers=bearer(CLIENT))
    assert not wrong, "\n\n".join(wrong)
    assert count > 500

"""`/v1`: what is served, and actions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serve.bodies import BATCH, JSON, MSGPACK, OPTIONS, RAW, read_body
from serve.replies import act_reply, encoded, model_info
from serve.schema import ActReply, ActRequest, ErrorReply, ModelInfo, ModelList
from serve.service import Service

router = APIRouter(tags=["act"])

STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503)
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorReply} for status in STATUSES}
_BINARY = {
    "schema": {
        "type": "string",
        "format": "binary",
        "description": "observations in C order, in the space's dtype, little endian",
    }
}


_FIELDS = {"$ref": "#/components/schemas/ActRequest"}


def query_parameters() -> list[dict[str, Any]]:
    """What the query string may hold beside raw bytes."""
    told = {name: ActRequest.model_fields[name].description for name in OPTIONS}
    told[BATCH] = "true: the reply has lists, though the body holds one observation"
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": f"raw bodies only, lists by commas; {text}",
        }
        for name, text in told.items()
    ]


EXAMPLES = {
    "one": {
        "summary": "One observation: a stack of one frame of four numbers",
        "value": {
            "observation": [[0.01, -0.02, 0.03, 0.04]],
            "include": ["policy", "value"],
            "simulations": 16,
        },
    },
    "many": {
        "summary": "Two frames that begin episodes, one with fewer actions",
        "value": {
            "observations": [[0.01, -0.02, 0.03, 0.04], [0, 0, 0, 0]],
            "legal_actions": [[0, 1], [1]],
            "seed": [1, 2],
        },
    },
    "bytes": {
        "summary": "The numbers as bytes",
        "value": {
            "observation": {
                "data": "AAAAAAAAAAAAAAAAAAAAAA==",
                "shape": [1, 4],
                "dtype": "float32",
            }
        },
    },
}
ACT_BODY = {
    "parameters": query_parameters(),
    "requestBody": {
        "required": True,
        "description": "Options stand in the body; beside raw bytes in the query string.",
        "content": {
            JSON: {"schema": _FIELDS, "examples": EXAMPLES},
            MSGPACK: {"schema": {**_FIELDS, "description": "the same fields; `data` is binary"}},
            RAW: _BINARY,
        },
    },
}
ACT_REPLIES: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"content": {MSGPACK: {"schema": {"$ref": "#/components/schemas/ActReply"}}}},
}


def service_of(request: Request) -> Service:
    """The replica's."""
    service: Service = request.app.state.service
    return service


async def answer(request: Request, name: str | None) -> Response:
    """One request, from bytes to bytes."""
    service, state = service_of(request), request.scope["state"]
    seat, model = service.roster.model(name)
    state["model"] = seat.name
    headers = state["headers"]
    body = read_body(
        await request.body(),
        headers.get(b"content-type", b"").decode("latin-1"),
        request.query_params.multi_items(),
        model.card,
    )
    outcome = await service.act(seat.name, body)
    reply = act_reply(outcome, request_id=state["request_id"])
    raw, kind = encoded(reply, accept=headers.get(b"accept", b"").decode("latin-1"))
    return Response(raw, media_type=kind)


@router.post(
    "/v1/models/{name}/act",
    response_model=ActReply,
    responses=ACT_REPLIES,
    openapi_extra=ACT_BODY,
    summary="The action for one observation, or for many",
)
async def act(request: Request, name: str) -> Response:
    """Searches, and says what to play."""
    return await answer(request, name)


@router.post(
    "/v1/act",
    response_model=ActReply,
    responses=ACT_REPLIES,
    openapi_extra=ACT_BODY,
    summary="The same, of the default model",
)
async def act_default(request: Request) -> Response:
    """Searches with the first model."""
    return await answer(request, None)


@router.get("/v1/models", response_model=ModelList, responses=ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """Every model that answers, the default one first."""
    service = service_of(request)
    return {
        "models": [
            model_info(seat, is_default=i == 0)
            for i, seat in enumerate(service.roster.seats.values())
            if seat.current is not None
        ]
    }


@router.get("/v1/models/{name}", response_model=ModelInfo, responses=ERRORS)
async def model(request: Request, name: str) -> dict[str, Any]:
    """Spaces, preprocessing, simulations, checkpoint, score: what a client must know."""
    return info_of(service_of(request), name)


def info_of(service: Service, name: str) -> dict[str, Any]:
    """A model's info.

    Raises:
        NotFound: no such model.
        NotReady: it has not been loaded yet.
    """
    seat, _ = service.roster.model(name)
    return model_info(seat, is_default=next(iter(service.roster.seats)) == name)

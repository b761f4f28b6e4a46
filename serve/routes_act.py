"""`/v1`: what is served, and actions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serve.bodies import JSON, MSGPACK, RAW, read_body
from serve.replies import act_reply, encoded, model_info
from serve.schema import ActReply, ActRequest, ErrorReply, ModelInfo, ModelList
from serve.service import Service

router = APIRouter(tags=["act"])

STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503)
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorReply} for status in STATUSES}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def query_parameters() -> list[dict[str, Any]]:
    """The fields of `ActRequest` that raw bodies have in the query string."""
    names = [n for n in ActRequest.model_fields if n not in ("observation", "observations")]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": f"raw bodies only; {ActRequest.model_fields[name].description or name}",
        }
        for name in names
    ]


ACT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/ActRequest"}},
            MSGPACK: _BINARY,
            RAW: _BINARY,
        },
    },
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
    responses=ERRORS,
    openapi_extra=ACT_BODY,
    summary="The action for one observation, or for many",
)
async def act(request: Request, name: str) -> Response:
    """Searches, and says what to play."""
    return await answer(request, name)


@router.post(
    "/v1/act",
    response_model=ActReply,
    responses=ERRORS,
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
    seats = [seat for seat in service.roster.seats.values() if seat.current is not None]
    return {"models": [model_info(seat, is_default=i == 0) for i, seat in enumerate(seats)]}


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

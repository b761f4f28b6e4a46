"""What an admin may do: load, roll back, remove. Every route here asks for an admin's token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from serve.bodies import JSON, refused
from serve.errors import UnsupportedMedia
from serve.routes_act import ERRORS, info_of, service_of
from serve.schema import LoadRequest, ModelInfo

LOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/LoadRequest"}}},
    },
}


async def admins_only(request: Request) -> None:
    """Refuses others before anything is read; by the route, not by how its path is spelt."""
    authorization = request.scope["state"]["headers"].get(b"authorization")
    service_of(request).tokens.check(authorization, admin=True)


router = APIRouter(tags=["admin"], dependencies=[Depends(admins_only)])


@router.post(
    "/v1/models/{name}/load",
    response_model=ModelInfo,
    responses=ERRORS,
    openapi_extra=LOAD_BODY,
)
async def load(request: Request, name: str) -> dict[str, Any]:
    """Takes in another checkpoint while the present one goes on answering."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMedia(f"content type must be {JSON}")
    try:
        asked = LoadRequest.model_validate_json(await request.body())
    except ValidationError as error:
        raise refused(error) from error
    service = service_of(request)
    await service.load(name, asked.checkpoint)
    return info_of(service, name)


@router.post("/v1/models/{name}/rollback", response_model=ModelInfo, responses=ERRORS)
async def rollback(request: Request, name: str) -> dict[str, Any]:
    """Goes back to the version before."""
    service = service_of(request)
    await service.roll_back(name)
    return info_of(service, name)


@router.delete("/v1/models/{name}", status_code=204, responses=ERRORS)
async def remove(request: Request, name: str) -> Response:
    """Serves a model no more."""
    await service_of(request).remove(name)
    return Response(status_code=204)

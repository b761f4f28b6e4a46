"""What an admin may do: load, roll back, remove. `guards` asks for the admin's token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serve.bodies import JSON
from serve.errors import UnsupportedMedia
from serve.routes_act import ERRORS, info_of, service_of
from serve.schema import LoadRequest, ModelInfo

router = APIRouter(tags=["admin"])


@router.post("/v1/models/{name}/load", response_model=ModelInfo, responses=ERRORS)
async def load(request: Request, name: str, body: LoadRequest) -> dict[str, Any]:
    """Takes in another checkpoint while the present one goes on answering."""
    if not request.headers.get("content-type", "").startswith(JSON):
        raise UnsupportedMedia(f"content type must be {JSON}")
    service = service_of(request)
    await service.load(name, body.checkpoint)
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

"""Is it alive, is it ready, and what does it do all day."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from serve.routes_act import ERRORS, service_of
from serve.schema import Health

router = APIRouter(tags=["operations"])
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get("/healthz", response_model=Health)
async def healthz() -> dict[str, str]:
    """The process answers. Touches no model."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses={503: ERRORS[503]})
async def readyz(request: Request) -> dict[str, str]:
    """Every model is loaded, warmed up, and has passed its self-test."""
    service_of(request).check_ready()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses={**_TEXT, 401: ERRORS[401]})
async def metrics(request: Request) -> Response:
    """For Prometheus, of this replica."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)

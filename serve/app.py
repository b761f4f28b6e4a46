"""The ASGI application: every route of the service, with its OpenAPI description."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

import rllib_ez
from rllib_ez.errors import EfficientZeroError
from serve import routes_act, routes_admin, routes_health, routes_oip, socket_play
from serve.errors import ServiceError, Unprocessable
from serve.guards import Guard, error_response
from serve.service import Service

DESCRIPTION = """
Actions of trained EfficientZero agents: a search answers each request, many requests together.

`POST /v1/models/{name}/act` takes JSON, msgpack or raw bytes; `/v2` is the Open Inference Protocol;
`/v1/models/{name}/play` a WebSocket that begins with the model's metadata.
"""


def build_app(service: Service, *, tells_request_id: bool = True) -> ASGIApp:
    """The application for one replica.

    Args:
        service: what answers; its `start` and `stop` are the caller's.
        tells_request_id: add X-Request-ID to replies (Ray Serve adds it itself).
    """
    app = FastAPI(
        title="rllib_ez action service",
        version=rllib_ez.__version__,
        description=DESCRIPTION,
        redoc_url=None,
    )
    app.state.service = service
    for router in (routes_act, routes_admin, routes_health, routes_oip, socket_play):
        included: APIRouter = router.router
        app.include_router(included)
    for kind in (ServiceError, EfficientZeroError, HTTPException, Exception):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(RequestValidationError, told_invalid)
    return Guard(app, service, tells_request_id=tells_request_id)


async def told(request: Request, error: Exception) -> Response:
    """Any error, in the service's schema."""
    return error_response(error, request.scope)


async def told_invalid(request: Request, error: Exception) -> Response:
    """What FastAPI itself finds wrong, in the service's schema."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    field = ".".join(str(part) for part in found["loc"])
    refused = Unprocessable(f"{field}: {found['msg']}", details={"fields": [field]})
    return error_response(refused, request.scope)


@asynccontextmanager
async def running(service: Service, models: Any) -> AsyncIterator[ASGIApp]:
    """A started service and its application, stopped at the end: for tests and notebooks."""
    await service.start(models)
    try:
        yield build_app(service)
    finally:
        await service.stop()

"""The ASGI application: every route of the service, with its OpenAPI description."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

import rllib_ez
from rllib_ez.errors import EfficientZeroError
from serve import routes_act, routes_admin, routes_health, routes_oip, socket_play
from serve.errors import ServiceError
from serve.guards import Guard, error_response, is_open
from serve.oip import InferRequest
from serve.schema import NUMBERS, ActRequest, LoadRequest
from serve.service import Service

DESCRIPTION = """
Actions of trained EfficientZero agents: a search answers each request, many requests together.

`POST /v1/models/{name}/act` takes JSON, msgpack or raw bytes; `/v2` is the Open Inference Protocol;
`/v1/models/{name}/play` a WebSocket that begins with the model's metadata.
"""

BODIES = (ActRequest, LoadRequest, InferRequest, routes_oip.IndexRequest)
# Those with a handler of their own are answered where they are raised, not logged as ours.
KINDS = (
    ServiceError,
    EfficientZeroError,
    HTTPException,
    RequestValidationError,
    ClientDisconnect,
    Exception,
)


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
        redirect_slashes=False,
    )
    app.state.service = service
    for router in (routes_act, routes_admin, routes_health, routes_oip, socket_play):
        included: APIRouter = router.router
        app.include_router(included)
    for kind in KINDS:
        app.add_exception_handler(kind, told)
    app.openapi = describe(app, service)  # type: ignore[method-assign]
    return Guard(app, service, tells_request_id=tells_request_id)


async def told(request: Request, error: Exception) -> Response:
    """Any error, in the service's schema."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        error.headers = {"Allow": ", ".join(methods_of(request))}
    return error_response(error, request.scope)


def methods_of(request: Request) -> list[str]:
    """The methods of a path; the router knows only those of its first route."""
    routes, scope = request.app.router.routes, request.scope
    return [
        method
        for method in ("DELETE", "GET", "POST")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def describe(app: FastAPI, service: Service) -> Callable[[], dict[str, Any]]:
    """What FastAPI cannot know: bodies that are read by hand, and tokens."""
    plain = app.openapi
    ready: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not ready:
            ready.update(plain())
            parts = ready["components"]
            parts["schemas"].update(body_schemas())
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in ready["paths"].items():
                for operation in methods.values():
                    operation["security"] = asked_of(service, path, operation)
        return ready

    return openapi


def asked_of(service: Service, path: str, operation: dict[str, Any]) -> list[dict[str, list[str]]]:
    """The tokens that an operation asks for, as OpenAPI tells them."""
    is_admins = "admin" in operation["tags"]
    free = is_open(path) or (service.tokens.known is None and not is_admins)
    return [] if free else [{"token": []}]


def body_schemas() -> dict[str, Any]:
    """Schemas of the bodies, by name."""
    models: list[Any] = [(model, "validation") for model in BODIES]
    _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")
    return {**found["$defs"], "Numbers": NUMBERS}


@asynccontextmanager
async def running(service: Service, models: Any) -> AsyncIterator[ASGIApp]:
    """A started service and its application, stopped at the end: for tests and notebooks."""
    await service.start(models)
    try:
        yield build_app(service)
    finally:
        await service.stop()

"""What stands before every route: request id, token, body limit, errors, log, metrics.

One ASGI layer, written for speed: Starlette's own base class for middleware costs about as much
as the rest of a request.
"""

from __future__ import annotations

import re
import secrets
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rllib_ez.errors import EfficientZeroError
from serve.errors import (
    BodyTooLarge,
    Conflict,
    Internal,
    NotFound,
    ServiceError,
    Unprocessable,
    UnsupportedMedia,
)
from serve.logs import log
from serve.service import Service

OPEN = ("/healthz", "/readyz", "/v2/health/", "/docs", "/openapi.json", "/favicon.ico")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")


class Guard:
    """Lets a request through to `app`, or answers it; nothing that is raised gets past it."""

    def __init__(self, app: ASGIApp, service: Service, *, tells_request_id: bool = True) -> None:
        self._app, self._service = app, service
        self._tells_request_id = tells_request_id  # Ray Serve adds the header itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name: value for name, value in scope["headers"]}
        request_id = read_request_id(headers.get(b"x-request-id"))
        scope.setdefault("state", {}).update(request_id=request_id, model="", headers=headers)
        if scope["type"] == "websocket":
            return await self._connection(scope, receive, send, headers)
        begun, sent = time.perf_counter(), Sent(send, self._own_headers(request_id))
        try:
            self._check(scope, headers)
            limit = self._service.settings.max_body_bytes
            check_length(headers.get(b"content-length"), limit)
            await self._app(scope, limited(receive, limit), sent)
        except Exception as error:
            if sent.status is None:  # else the app has told it already
                await error_response(error, scope)(scope, receive, sent)
        finally:
            self._note(scope, sent, request_id, time.perf_counter() - begun)

    async def _connection(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]
    ) -> None:
        try:
            self._check(scope, headers)
        except ServiceError as error:
            await receive()  # websocket.connect
            code = 4000 + error.status
            return await send({"type": "websocket.close", "code": code, "reason": error.code})
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        path = scope["path"]
        if path.startswith(OPEN) and (path in OPEN or path.startswith("/v2/health/")):
            return
        self._service.tokens.check(
            headers.get(b"authorization"), admin=is_admin_path(path, scope.get("method", "GET"))
        )
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding.strip().lower() not in (b"identity", b""):
            raise UnsupportedMedia(
                f"content encoding must be identity, got {encoding.decode('latin-1')[:40]!r}"
            )

    def _own_headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        own = [(b"x-content-type-options", b"nosniff")]
        if self._tells_request_id:
            own.append((b"x-request-id", request_id.encode()))
        return own

    def _note(self, scope: Scope, sent: Sent, request_id: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        model, code = scope["state"]["model"], sent.status or 499
        self._service.metrics.request(model=model, route=route, code=code, seconds=seconds)
        if self._service.settings.access_log:
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "model": model,
                "code": code,
                "ms": round(seconds * 1000, 3),
            }
            log.info("request", extra={"fields": fields})


class Sent:
    """`send` with headers of ours, that remembers the status."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        """Hands a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        await self._send(message)


def error_response(error: Exception, scope: Scope) -> Response:
    """What a client is told, in the schema of its path; the cause of ours goes to the log."""
    request_id = scope["state"]["request_id"]
    told = told_of(error)
    if isinstance(told, Internal):
        cause = error.__cause__ or error
        log.error("failed", exc_info=cause, extra={"fields": {"request_id": request_id}})
    body = told.body(request_id)
    if scope["path"].startswith("/v2"):  # the Open Inference Protocol's own form
        body = {"error": str(told)}
    headers = (
        {**(getattr(error, "headers", None) or {}), **told.headers()}
        if isinstance(error, HTTPException)
        else told.headers()
    )
    return JSONResponse(body, told.status, headers)


def is_admin_path(path: str, method: str) -> bool:
    """Whether it changes what is served."""
    return path.endswith(("/load", "/unload", "/rollback")) or method == "DELETE"


def read_request_id(given: bytes | None) -> str:
    """The client's own, if it is harmless; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return secrets.token_hex(8)


def check_length(given: bytes | None, limit: int) -> None:
    """Refuses a body that says itself that it is too large."""
    if given is not None and given.isdigit() and int(given) > limit:
        raise too_large(limit)


def limited(receive: Receive, limit: int) -> Receive:
    """`receive` that counts, for bodies that do not say how long they are."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise too_large(limit)
        return message

    return counted


def too_large(limit: int) -> BodyTooLarge:
    """More than the service reads."""
    return BodyTooLarge(f"a body must have at most {limit} bytes", details={"limit": limit})


def told_of(error: Exception) -> ServiceError:
    """What a client is told of an error: its text where it is the client's to mend."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, HTTPException):  # of the router: no such path, or method
        told = NotFound(f"{error.detail}: /docs lists every path and its methods")
        told.status = error.status_code
        told.code = {404: "not_found", 405: "method_not_allowed"}.get(told.status, "bad_request")
        return told
    if isinstance(error, EfficientZeroError):
        kinds = {404: NotFound, 422: Unprocessable}
        return kinds.get(error.http_status, Conflict)(str(error))
    return Internal("something failed here; the service's log tells more under this request_id")

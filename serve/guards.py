"""What stands before every route: request id, token, body limit, errors, log, metrics.

One ASGI layer, written for speed: Starlette's own base class for middleware costs about as much
as the rest of a request.
"""

from __future__ import annotations

import json
import re
import secrets
import time

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from rllib_ez.errors import EfficientZeroError
from serve.errors import (
    BadRequest,
    BodyTooLarge,
    Internal,
    NotFound,
    NotReady,
    ServiceError,
    Unprocessable,
    UnsupportedMedia,
)
from serve.logs import log
from serve.service import Service

OPEN = ("/healthz", "/readyz", "/docs", "/openapi.json", "/favicon.ico")  # and /v2/health/
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
THEIRS: dict[int, type[ServiceError]] = {404: NotFound, 422: Unprocessable, 503: NotReady}
LONGEST_NUMBER = 18  # digits of a Content-Length; Python refuses to read thousands


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
            return await turn_away(error, scope, send)
        try:
            await self._app(scope, receive, send)
        except WebSocketDisconnect:  # gone before it was told anything
            return
        except Exception as error:  # logged; the server closes the connection
            told_of(error, scope["state"]["request_id"])

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Known clients only; what is an admin's, the admin's own routes ask for."""
        if is_open(scope["path"]):
            return
        self._service.tokens.check(headers.get(b"authorization"), admin=False)
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
    told = told_of(error, request_id)
    body = told.body(request_id)
    if scope["path"] == "/v2" or scope["path"].startswith("/v2/"):
        body = {"error": str(told)}  # the Open Inference Protocol's own form
    own = error.headers if isinstance(error, HTTPException) else None  # Allow, of the router
    return JSONResponse(body, told.status, {**(own or {}), **told.headers()})


def is_open(path: str) -> bool:
    """Whether it answers everybody."""
    return path in OPEN or path.startswith("/v2/health/")


async def turn_away(error: Exception, scope: Scope, send: Send) -> None:
    """Tells a new WebSocket what is wrong, and closes it.

    It is accepted first: one that is refused is told a bare 403, whatever the code.
    """
    request_id = scope["state"]["request_id"]
    told = told_of(error, request_id)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(told.body(request_id))})
    await send({"type": "websocket.close", "code": 4000 + told.status, "reason": told.code})


def read_request_id(given: bytes | None) -> str:
    """The client's own, if it is harmless; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return secrets.token_hex(8)


def check_length(given: bytes | None, limit: int) -> None:
    """Refuses a body that says itself that it is too large."""
    if given is None or not given.isdigit():  # the server refuses what is no number
        return
    if len(given) > LONGEST_NUMBER or int(given) > limit:
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


def told_of(error: Exception, request_id: str) -> ServiceError:
    """What a client is told of an error; the cause of ours goes to the log."""
    told = in_our_words(error)
    if isinstance(told, Internal):
        cause = error.__cause__ or error
        log.error("failed", exc_info=cause, extra={"fields": {"request_id": request_id}})
    return told


def in_our_words(error: Exception) -> ServiceError:
    """An error's text where it is the client's to mend."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, HTTPException):  # of the router: no such path, or method
        told = NotFound(f"{error.detail}: /docs lists every path and its methods")
        told.status = error.status_code
        told.code = {404: "not_found", 405: "method_not_allowed"}.get(told.status, "bad_request")
        return told
    if isinstance(error, RequestValidationError):  # of FastAPI
        found = error.errors()[0]
        field = ".".join(str(part) for part in found["loc"])
        return Unprocessable(f"{field}: {found['msg']}", details={"fields": [field]})
    if isinstance(error, ClientDisconnect):
        return BadRequest("the body must be whole, and its client has left")
    if isinstance(error, EfficientZeroError) and error.http_status in THEIRS:
        return THEIRS[error.http_status](str(error))
    return Internal("something failed here; the service's log tells more under this request_id")

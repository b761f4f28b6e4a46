"""What a client can be told is wrong. One schema:

{"error": {"code": str, "message": str, "details": {...}, "request_id": str}}

ServiceError
├── BadRequest           400   the body or a header cannot be read at all
├── Unauthorized         401   no token, or an unknown one
├── Forbidden            403   a client's token where an admin's is needed
├── NotFound             404   no such model (`model_not_found`), or no such path
├── DeadlineExceeded     408   `deadline_ms` has passed
├── Conflict             409   `session_lost`; `model_changed`: another space than before;
│                              `conflict`: there is no version to go back to
├── BodyTooLarge         413   more bytes than the service reads
├── UnsupportedMedia     415   a content type, or an encoding, that is not understood
├── Unprocessable        422   a field (`invalid_request`) or an observation (`invalid_observation`)
├── Overloaded           429   the queue is full, or too many sessions; with Retry-After
├── Internal             500   ours; the cause stands in the log only
└── NotReady             503   still loading, or going down; with Retry-After
"""

from __future__ import annotations

import math
from typing import Any


class ServiceError(Exception):
    """Base; its text is for the client to read."""

    status = 500
    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.details = details or {}
        self.retry_after = retry_after  # seconds; of 429 and 503, 1 if None

    def body(self, request_id: str) -> dict[str, Any]:
        """What is sent."""
        error = {
            "code": self.code,
            "message": str(self),
            "details": self.details,
            "request_id": request_id,
        }
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        if self.status in (429, 503):
            return {"Retry-After": str(max(1, math.ceil(self.retry_after or 0)))}
        if self.status == 413:  # else what follows of the body is read, to find the next request
            return {"Connection": "close"}
        return {}


class BadRequest(ServiceError):
    """The body or a header cannot be read."""

    status, code = 400, "bad_request"


class Unauthorized(ServiceError):
    """No token, or an unknown one."""

    status, code = 401, "unauthorized"


class Forbidden(ServiceError):
    """The token is known, but not for this."""

    status, code = 403, "forbidden"


class NotFound(ServiceError):
    """No such model, or no such path."""

    status, code = 404, "not_found"


class DeadlineExceeded(ServiceError):
    """The answer would have come too late."""

    status, code = 408, "deadline_exceeded"


class Conflict(ServiceError):
    """The request does not fit what the service knows."""

    status, code = 409, "conflict"


class BodyTooLarge(ServiceError):
    """More bytes than the service reads."""

    status, code = 413, "body_too_large"


class UnsupportedMedia(ServiceError):
    """A content type or an encoding that is not understood."""

    status, code = 415, "unsupported_media_type"


class Unprocessable(ServiceError):
    """A field, or an observation, is not as it must be."""

    status, code = 422, "invalid_request"


class Overloaded(ServiceError):
    """There is more to do than can be kept waiting."""

    status, code = 429, "overloaded"


class Internal(ServiceError):
    """Our mistake: told without its cause."""

    status, code = 500, "internal"


class NotReady(ServiceError):
    """Not yet, or no longer."""

    status, code = 503, "not_ready"

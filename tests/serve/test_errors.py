"""What a client is told is wrong: one schema, one status a class."""

from __future__ import annotations

import pytest
from fastapi.exceptions import RequestValidationError

import rllib_ez.errors
from rllib_ez.errors import EfficientZeroError
from serve import errors
from serve.errors import Internal, NotReady, Overloaded, ServiceError
from serve.guards import in_our_words

STATUS = {
    "BadRequest": (400, "bad_request"),
    "Unauthorized": (401, "unauthorized"),
    "Forbidden": (403, "forbidden"),
    "NotFound": (404, "not_found"),
    "DeadlineExceeded": (408, "deadline_exceeded"),
    "Conflict": (409, "conflict"),
    "BodyTooLarge": (413, "body_too_large"),
    "UnsupportedMedia": (415, "unsupported_media_type"),
    "Unprocessable": (422, "invalid_request"),
    "Overloaded": (429, "overloaded"),
    "Internal": (500, "internal"),
    "NotReady": (503, "not_ready"),
}


def test_every_class_has_its_status_and_code():
    found = {kind.__name__: (kind.status, kind.code) for kind in ServiceError.__subclasses__()}
    assert found == STATUS


def test_the_tree_in_the_docstring_is_the_true_one():
    for name, (status, _) in STATUS.items():
        assert f"{name} " in str(errors.__doc__)
        line = next(row for row in str(errors.__doc__).splitlines() if f" {name} " in row)
        assert f" {status} " in line


def test_a_body_has_the_schema():
    error = NotReady("the text", code="draining", details={"a": 1})
    assert error.body("id") == {
        "error": {
            "code": "draining",
            "message": "the text",
            "details": {"a": 1},
            "request_id": "id",
        }
    }
    assert Internal("x").body("id")["error"]["details"] == {}


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (30, "30")]
)
@pytest.mark.parametrize("kind", [Overloaded, NotReady])
def test_who_is_refused_for_now_is_told_when_to_come_again(
    kind: type[ServiceError], seconds: float | None, told: str
):
    assert kind("x", retry_after=seconds).headers() == {"Retry-After": told}


def test_a_code_of_ones_own_changes_no_other_error():
    assert NotReady("x", code="draining").code == "draining"
    assert NotReady("x").code == "not_ready"


KINDS = [kind for kind in vars(rllib_ez.errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_our_errors_has_its_status(kind: type[EfficientZeroError]):
    told = in_our_words(kind("the text"))
    assert told.status == kind.http_status
    assert (str(told) == "the text") == (told.status != 500)


def test_what_fastapi_finds_is_told_in_our_schema():
    found = {"loc": ("query", "x"), "msg": "must be", "type": "x"}
    told = in_our_words(RequestValidationError([found]))
    assert (told.status, told.code, told.details) == (
        422,
        "invalid_request",
        {"fields": ["query.x"]},
    )

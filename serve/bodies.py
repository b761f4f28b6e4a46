"""From the bytes of a body to an `ActRequest`: JSON, msgpack, or the bare numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgpack
import numpy as np
from pydantic import ValidationError

from rllib_ez.core.agent_card import AgentCard
from serve.errors import BadRequest, Unprocessable, UnsupportedMedia
from serve.query import expected_of, invalid, shortened
from serve.schema import TAGS, ActRequest

JSON, MSGPACK, RAW = "application/json", "application/msgpack", "application/octet-stream"
LISTS = ("simulations", "seed", "legal_actions", "include")  # comma-separated in a query string
# What a query string may hold beside raw bytes.
OPTIONS = tuple(n for n in ActRequest.model_fields if n not in ("observation", "observations"))
BATCH = "batch"  # `batch=true`: a list was meant, though it holds one
MOST_PROBLEMS = 20  # told of one request


def read_body(
    body: bytes, content_type: str, query: Iterable[tuple[str, str]], card: AgentCard
) -> ActRequest:
    """What was sent.

    Args:
        body: all of it, within the limit.
        content_type: as in the header.
        query: names and values of the query string; raw bodies only.
        card: of the model, for raw bodies.

    Raises:
        BadRequest: it cannot be read.
        UnsupportedMedia: another content type.
        Unprocessable: an unknown field, or a value that breaks a rule.
    """
    kind = content_type.partition(";")[0].strip().lower()
    fields = list(query)
    if kind == RAW:
        return from_raw(body, fields, card)
    if fields:
        raise Unprocessable(
            f"fields must stand in the body, got {shortened(fields[0][0])!r} in the query string",
            details={"fields": [shortened(fields[0][0])]},
        )
    if kind == JSON:
        return from_json(body)
    if kind in (MSGPACK, "application/x-msgpack"):
        return from_msgpack(body)
    raise UnsupportedMedia(
        f"content type must be {JSON}, {MSGPACK} or {RAW}, got {shortened(kind or 'none')!r}"
    )


def from_json(body: bytes | str) -> ActRequest:
    """A JSON object."""
    try:
        return ActRequest.model_validate_json(body)
    except ValidationError as error:
        raise refused(error) from error


def from_msgpack(body: bytes) -> ActRequest:
    """A msgpack map with the same fields; arrays may be maps of data, shape, dtype."""
    try:
        entries = msgpack.unpackb(body, raw=False, strict_map_key=True, use_list=True)
    except Exception as error:  # msgpack raises several kinds, some of them bare ValueErrors
        why = f"{type(error).__name__} {shortened(error)}"
        raise BadRequest(f"body must be msgpack, got {why}") from error
    if not isinstance(entries, dict):
        raise BadRequest(f"body must be a map of fields, got {type(entries).__name__}")
    return from_entries(entries)


def from_entries(entries: Any) -> ActRequest:
    """Fields that have been read already."""
    try:
        return ActRequest.model_validate(entries)
    except ValidationError as error:
        raise refused(error) from error


def from_raw(body: bytes, query: list[tuple[str, str]], card: AgentCard) -> ActRequest:
    """Bare numbers: one stack or several, or one frame; options in the query string."""
    dtype = np.dtype(card.frame_dtype).newbyteorder("<")
    frame, stack = card.model.frame_shape, (card.model.frame_stack, *card.model.frame_shape)
    frame_bytes = int(np.prod(frame)) * dtype.itemsize
    stack_bytes = frame_bytes * card.model.frame_stack
    if len(body) == frame_bytes and frame_bytes < stack_bytes:
        shape: tuple[int, ...] = frame
    elif len(body) and len(body) % stack_bytes == 0:
        shape = (len(body) // stack_bytes, *stack)
    else:
        raise Unprocessable(
            f"a raw body must hold observations of {stack_bytes} bytes, or one frame of "
            f"{frame_bytes}, got {len(body)}",
            code="invalid_observation",
            details={
                "expected": {**expected_of(card, batch=True), "bytes": stack_bytes},
                "got": {"bytes": len(body)},
            },
        )
    array = np.frombuffer(body, dtype).astype(card.frame_dtype, copy=False).reshape(shape)
    entries = read_query(query)
    is_batch = entries.pop(BATCH, False) or (shape != frame and shape[0] > 1)
    if not is_batch:
        one = array if shape == frame else array[0]
        return from_entries(entries).model_copy(update={"observation": one})
    many = array[None] if shape == frame else array
    legal = entries.get("legal_actions")
    if len(many) == 1 and legal and not isinstance(legal[0], list):
        entries["legal_actions"] = [legal]  # one row has no ; that would tell
    return from_entries(entries).model_copy(update={"observations": many})


def read_query(query: list[tuple[str, str]]) -> dict[str, Any]:
    """The options of a query string, with their types.

    Raises:
        Unprocessable: an unknown name, one given twice, or no number where one must be.
    """
    entries: dict[str, Any] = {}
    for name, text in query:
        if name in entries or name not in (*OPTIONS, BATCH):
            raise Unprocessable(
                f"a query parameter must be one of {', '.join((*OPTIONS, BATCH))}, each once, got "
                f"{shortened(name)!r}",
                details={"fields": [shortened(name)]},
            )
        entries[name] = typed(name, text)
    if not isinstance(entries.get(BATCH, False), bool):
        raise invalid(BATCH, "be true or false", entries[BATCH])
    return entries


def typed(name: str, text: str) -> Any:
    """A value: numbers and booleans as JSON has them, lists by commas, the rest as it is."""
    if name == "session_id":
        return text
    if name == "include":
        return [word for word in text.split(",") if word]
    if name == "legal_actions" and ";" in text:
        return [[literal(word) for word in row.split(",")] for row in text.split(";")]
    if name in LISTS and ("," in text or name == "legal_actions"):
        return [literal(word) for word in text.split(",")]
    return literal(text)


def literal(text: str) -> Any:
    """A JSON literal; what is none stays text, and is refused by its type."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def refused(error: ValidationError) -> Unprocessable | BadRequest:
    """Pydantic's findings in our words."""
    count = error.error_count()
    if count > 50 * MOST_PROBLEMS:  # each would take far more memory than it took in the body
        return Unprocessable(f"body must be an object of known fields, got {count} wrong ones")
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for item in found:
        if not item["loc"]:  # no JSON, or no object
            message = shortened(item["msg"])
            return BadRequest(f"body must be an object of known fields, got: {message}")
    problems = [
        {"field": field_of(item["loc"]), "problem": rule_of(item)} for item in found[:MOST_PROBLEMS]
    ]
    first, rest = problems[0], f" (and {count - 1} more)" if count > 1 else ""
    return Unprocessable(
        f"{first['field']} {first['problem']}{rest}",
        details={"fields": [p["field"] for p in problems], "problems": problems},
    )


def field_of(place: tuple[int | str, ...]) -> str:
    """Where in the body, without pydantic's names for the forms that a field may have."""
    known = (*place[:1], *(part for part in place[1:] if part not in TAGS))
    return ".".join(shortened(part) for part in known)


def rule_of(item: Any) -> str:
    """What the field must be."""
    if item["type"] == "extra_forbidden":
        return "is not a field that is known here"
    return shortened(item["msg"]).replace("Input should be", "must be")

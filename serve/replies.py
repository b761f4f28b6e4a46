"""From what was found to what is sent. Axes: n observations, A actions, D of the longest line."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np

from rllib_ez.core.agent_card import AgentCard
from serve.bodies import MSGPACK
from serve.models import ServedModel
from serve.query import Query
from serve.roster import Seat
from serve.service import Outcome


def act_reply(outcome: Outcome, *, request_id: str) -> dict[str, Any]:
    """`serve.schema.ActReply` as plain values."""
    query, answered = outcome.query, outcome.answered
    found = answered.answer
    columns = {name: column(name, outcome) for name in sorted(query.include)}
    reply: dict[str, Any]
    if query.is_batch:
        reply = {"actions": found.action.tolist(), **columns}
    else:
        reply = {"action": int(found.action[0]), **{k: v[0] for k, v in columns.items()}}
    reply["simulations"] = one_or_all(query.num_simulations, query)
    if query.drawn_seed:
        reply["seed"] = one_or_all(query.seeds, query)
    model = found.model
    reply["model"] = {
        "name": model.name,
        "version": model.version,
        "step": model.card.num_env_steps,
    }
    reply["timing_ms"] = {
        "queue": milliseconds(answered.queue_seconds),
        "search": milliseconds(answered.search_seconds),
        "total": milliseconds(outcome.total_seconds),
    }
    reply["batch_size"] = answered.batch_size
    reply["request_id"] = request_id
    return reply


def column(name: str, outcome: Outcome) -> list[Any]:
    """One thing that was asked for, for each observation."""
    result = outcome.answered.answer.result
    if name == "policy":
        return result.policy.tolist()
    if name == "visits":
        return result.visit_counts.tolist()
    if name == "value":
        return result.root_value.tolist()
    assert result.trace is not None, name
    if name == "q":
        return [[None if q != q else q for q in row] for row in result.trace.q.tolist()]
    lines = result.trace.principal_variation
    return [line[line >= 0].tolist() for line in lines]


def one_or_all(numbers: np.ndarray, query: Query) -> Any:
    """A number, or a list of them for a batch."""
    return numbers.tolist() if query.is_batch else int(numbers[0])


def milliseconds(seconds: float) -> float:
    """Rounded to microseconds."""
    return round(seconds * 1000, 3)


def encoded(reply: Any, *, accept: str) -> tuple[bytes, str]:
    """The body and its content type: JSON, or msgpack where that is accepted by name."""
    if MSGPACK in accept or "application/x-msgpack" in accept:
        return msgpack.packb(reply), MSGPACK
    return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode(), "application/json"


def model_info(seat: Seat, *, is_default: bool) -> dict[str, Any]:
    """`serve.schema.ModelInfo` as plain values, of a model that answers."""
    model = seat.current
    assert model is not None, seat.name
    return {
        "name": seat.name,
        "version": model.version,
        "state": seat.state,
        "error": None if seat.failed is None else seat.failed[1],
        "default": is_default,
        **told_of_card(model.card),
        "simulations": {
            "default": model.limits.default_simulations,
            "max": model.limits.max_simulations,
        },
        "checkpoint": told_of_checkpoint(model),
        "evaluation": model.evaluation,
        "loaded_at": model.loaded_at,
        "max_observations": model.limits.max_observations,
    }


def told_of_card(card: AgentCard) -> dict[str, Any]:
    """Environment, spaces, preprocessing and search."""
    shape = card.model
    return {
        "env": card.env,
        "observation": {
            "shape": [shape.frame_stack, *shape.frame_shape],
            "frame_shape": list(shape.frame_shape),
            "frame_stack": shape.frame_stack,
            "dtype": card.frame_dtype,
        },
        "actions": {"n": shape.num_actions},
        "preprocessing": {
            "frame_size": card.frame_size,
            "grayscale": card.grayscale,
            "env_config": card.env_config,
        },
        "search": {"method": card.search.search_method, "discount": card.search.discount},
    }


def told_of_checkpoint(model: ServedModel) -> dict[str, Any]:
    """Where the weights come from."""
    return {
        "path": model.path,
        "sha256": model.sha256,
        "env_steps": model.card.num_env_steps,
        "updates": model.card.num_updates,
        "seed": model.card.seed,
        "written_by": model.card.written_by,
    }

"""What one request asks of a model, checked: the form that all kinds of bodies become.

Axes: n observations, L frame_stack, A actions.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_ez.core.agent_card import AgentCard
from serve.errors import Unprocessable
from serve.schema import ActRequest, Array

INCLUDABLE = ("policy", "visits", "value", "q", "principal_variation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """n observations to be searched, each with its rules."""

    observations: np.ndarray  # [n, L, *frame], in the space's dtype
    num_simulations: np.ndarray  # [n] i32
    legal: np.ndarray | None  # [n, A] bool; None: all
    seeds: np.ndarray  # [n] u64
    deterministic: bool
    temperature: float
    include: frozenset[str]
    is_batch: bool  # "observations": the reply has lists
    drawn_seed: bool  # the seeds are the service's own: tell them


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model accepts."""

    default_simulations: int
    max_simulations: int
    max_observations: int  # of one request


def read_frames(request: ActRequest, card: AgentCard) -> np.ndarray:
    """The observations as they were sent: [n, ...] in the space's dtype.

    Raises:
        Unprocessable: not exactly one of both fields, no numbers, or not in the dtype's range.
    """
    if (request.observation is None) == (request.observations is None):
        raise Unprocessable(
            "exactly one of observation and observations must be given",
            details={"fields": ["observation", "observations"]},
        )
    if request.observation is not None:
        return as_numbers(request.observation, card)[None]
    frames = as_numbers(request.observations, card)
    if frames.ndim == 0 or len(frames) == 0:
        raise wrong_shape(frames.shape, card, batch=True, dtype=frames.dtype)
    return frames


def as_numbers(given: Any, card: AgentCard) -> np.ndarray:
    """Lists, or an `Array`, in the space's dtype."""
    dtype = np.dtype(card.frame_dtype)
    array = given.decode() if isinstance(given, Array) else from_lists(given, card)
    if array.dtype == dtype:
        checked = array
    elif dtype == np.uint8:
        if array.dtype.kind not in "iu" or array.size and not 0 <= array.min() <= array.max() < 256:
            raise wrong_shape(array.shape, card, batch=False, dtype=array.dtype)
        checked = array.astype(np.uint8)
    elif array.dtype.kind in "iufb":
        with np.errstate(over="ignore"):
            checked = array.astype(dtype)
    else:
        raise wrong_shape(array.shape, card, batch=False, dtype=array.dtype)
    if dtype.kind == "f" and not np.isfinite(checked).all():
        raise Unprocessable(
            "observation must be finite, got nan or infinity", code="invalid_observation"
        )
    return checked


def from_lists(given: Any, card: AgentCard) -> np.ndarray:
    """Nested lists of numbers, all rows alike."""
    try:
        array = np.asarray(given)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise Unprocessable(
            f"observation must be an array of numbers, got {error}",
            code="invalid_observation",
            details={"expected": expected_of(card, batch=False)},
        ) from error
    if array.dtype.kind not in "iufb":
        raise wrong_shape(array.shape, card, batch=False, dtype=array.dtype)
    return array


def as_stacks(frames: np.ndarray, card: AgentCard, *, batch: bool) -> np.ndarray:
    """Stacks [n, L, *frame]; single frames [n, *frame] fill their stacks.

    Raises:
        Unprocessable: neither shape.
    """
    model = card.model
    stack = (model.frame_stack, *model.frame_shape)
    if frames.shape[1:] == stack:
        return frames
    if frames.shape[1:] == model.frame_shape:
        return np.broadcast_to(frames[:, None], (len(frames), *stack))
    shape = frames.shape if batch else frames.shape[1:]
    raise wrong_shape(shape, card, batch=batch, dtype=frames.dtype)


def expected_of(card: AgentCard, *, batch: bool) -> dict[str, Any]:
    """The space, as errors tell it."""
    shape: list[Any] = [card.model.frame_stack, *card.model.frame_shape]
    return {"shape": ["n", *shape] if batch else shape, "dtype": card.frame_dtype}


def wrong_shape(
    shape: tuple[int, ...], card: AgentCard, *, batch: bool, dtype: Any
) -> Unprocessable:
    """An observation that does not fit the space."""
    expected = expected_of(card, batch=batch)
    got = {"shape": list(shape), "dtype": str(dtype)}
    return Unprocessable(
        f"observation must be {expected['dtype']} of shape {expected['shape']} (frame stack, "
        f"oldest first; frame), got {got['dtype']} of shape {got['shape']}",
        code="invalid_observation",
        details={"expected": expected, "got": got},
    )


def make_query(
    request: ActRequest, stacks: np.ndarray, *, num_actions: int, limits: Limits
) -> Query:
    """The rest of the request, for stacks [n, L, *frame].

    Raises:
        Unprocessable: a number out of range, or lists of another length than n.
    """
    count, is_batch = len(stacks), request.observations is not None
    if count > limits.max_observations:
        raise invalid("observations", f"hold at most {limits.max_observations}", f"{count} of them")
    drawn = request.seed is None and not request.deterministic
    given = secrets.randbits(53) if drawn else (request.seed or 0)
    seeds = each("seed", given, count)
    if drawn:
        seeds = [(seed + i) % 2**64 for i, seed in enumerate(seeds)]
    simulations = each("simulations", request.simulations or limits.default_simulations, count)
    for number in simulations:
        if not 1 <= number <= limits.max_simulations:
            raise invalid("simulations", f"be 1 .. {limits.max_simulations}", number)
    return Query(
        observations=stacks,
        num_simulations=np.array(simulations, np.int32),
        legal=legal_mask(request, count, num_actions),
        seeds=np.array(seeds, np.uint64),
        deterministic=request.deterministic,
        temperature=request.temperature,
        include=frozenset(request.include),
        is_batch=is_batch,
        drawn_seed=drawn,
    )


def each(name: str, given: int | list[int], count: int) -> list[int]:
    """One number for each observation."""
    if isinstance(given, int):
        return [given] * count
    if len(given) != count:
        raise invalid(name, f"hold one number for each of {count} observations", len(given))
    return given


def legal_mask(request: ActRequest, count: int, num_actions: int) -> np.ndarray | None:
    """[n, A] bool from lists of allowed actions."""
    given = request.legal_actions
    if given is None:
        return None
    nested = bool(given) and isinstance(given[0], list)
    if nested != (request.observations is not None) and not (not given and not nested):
        raise invalid(
            "legal_actions",
            "be a list of actions for observation, a list of such lists for observations",
            given if len(str(given)) < 80 else f"{str(given)[:80]}...",
        )
    rows: list[Any] = list(given) if nested else [given]
    if len(rows) != count:
        raise invalid("legal_actions", f"hold a list for each of {count} observations", len(rows))
    mask = np.zeros((count, num_actions), np.bool_)
    for row, allowed in enumerate(rows):
        if not allowed:
            raise invalid("legal_actions", "allow at least one action", allowed)
        wrong = next((a for a in allowed if not 0 <= a < num_actions), None)
        if wrong is not None:
            raise invalid("legal_actions", f"be 0 .. {num_actions - 1}", wrong)
        mask[row, allowed] = True
    return mask


def invalid(field: str, rule: str, got: Any) -> Unprocessable:
    """A field that breaks a rule."""
    return Unprocessable(
        f"{field} must {rule}, got {got}", details={"fields": [field], "got": str(got)[:200]}
    )

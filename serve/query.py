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

LONGEST_ECHO = 80  # characters of a value that an error repeats


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
        return as_numbers(request.observation, card, batch=False)[None]
    frames = as_numbers(request.observations, card, batch=True)
    if frames.ndim == 0 or len(frames) == 0:
        raise wrong_shape(frames.shape, card, batch=True, dtype=frames.dtype)
    return frames


def as_numbers(given: Any, card: AgentCard, *, batch: bool) -> np.ndarray:
    """Lists, an `Array`, or an array that has been read, in the space's dtype."""
    try:
        array = given.decode() if isinstance(given, Array) else plain_numbers(given)
    except ValueError as error:
        raise unfit(str(error), card, batch=batch, got=told_form(given)) from error
    dtype, got = np.dtype(card.frame_dtype), {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype.kind not in ("iu" if dtype == np.uint8 else "iuf"):
        raise wrong_shape(array.shape, card, batch=batch, dtype=array.dtype)
    if array.dtype == dtype:
        checked = array
    elif dtype == np.uint8:
        if array.size and not 0 <= array.min() <= array.max() < 256:
            raise unfit("must hold numbers 0 .. 255, got others", card, batch=batch, got=got)
        checked = array.astype(np.uint8)
    else:
        with np.errstate(over="ignore"):  # found out below
            checked = array.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(checked).all():
        raise unfit("must hold finite numbers, got nan or infinity", card, batch=batch, got=got)
    return checked


def plain_numbers(given: Any) -> np.ndarray:
    """Nested lists as an array: i64 or u64 where all are integers, bool where all are bool, or f64.

    By way of objects, for numpy turns a number beside a string into a string, each as long as
    the longest: a small body would take all memory.

    Raises:
        ValueError: rows of different lengths, other things than numbers, or numbers too large.
    """
    if isinstance(given, np.ndarray):
        return given
    array = np.array(given, dtype=object)
    kinds = set(map(type, array.ravel().tolist()))
    if list in kinds:
        raise ValueError("must have rows of equal length, and be at most 64 deep")
    if not (kinds <= {int, float} or kinds == {bool}):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"must hold numbers, got {names}")
    if kinds == {bool}:
        return array.astype(np.bool_)
    for dtype in (np.float64,) if float in kinds else (np.int64, np.uint64):
        try:
            return array.astype(dtype)
        except OverflowError:
            continue
    raise ValueError("must hold numbers of 64 bits, got greater ones")


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
    return unfit(
        f"must be {expected['dtype']} of shape {expected['shape']} (frame stack, oldest first; "
        f"frame), got {got['dtype']} of shape {got['shape']}",
        card,
        batch=batch,
        got=got,
    )


def unfit(problem: str, card: AgentCard, *, batch: bool, got: dict[str, Any]) -> Unprocessable:
    """An observation that cannot be searched."""
    return Unprocessable(
        f"{'observations' if batch else 'observation'} {problem}",
        code="invalid_observation",
        details={"expected": expected_of(card, batch=batch), "got": got},
    )


def told_form(given: Any) -> dict[str, Any]:
    """Shape and dtype as far as they are known of what cannot be read."""
    if isinstance(given, Array):
        return {"shape": given.shape, "dtype": given.dtype}
    return {"shape": None, "dtype": type(given).__name__}


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
    given = secrets.randbits(53) if drawn else request.seed
    seeds = each("seed", 0 if given is None else given, count)
    if drawn:
        seeds = [(seed + i) % 2**64 for i, seed in enumerate(seeds)]
    asked = request.simulations
    simulations = each("simulations", limits.default_simulations if asked is None else asked, count)
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
    if given and nested != (request.observations is not None):
        raise invalid(
            "legal_actions",
            "be a list of actions for observation, a list of such lists for observations",
            "a list of lists" if nested else "a list of actions",
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
    told = shortened(got)
    return Unprocessable(
        f"{field} must {rule}, got {told}", details={"fields": [field], "got": told}
    )


def shortened(got: Any) -> str:
    """A value as errors tell it."""
    if isinstance(got, int) and abs(got) >= 2**64:  # Python refuses to write thousands of digits
        return "an integer of more than 64 bits"
    text = str(got)
    return text if len(text) <= LONGEST_ECHO else f"{text[:LONGEST_ECHO]}..."

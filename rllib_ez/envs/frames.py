"""How an observation of gymnasium becomes one frame.

    uint8 [H, W] or [H, W, C], sides >= 16     a picture [H, W, C] uint8
    float [H, W, C] with bounds in [0, 1]      a picture, times 255
    any other Box                              a vector [D] f32, flattened

Sides below 16 are no picture: the pixel network halves a picture four times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rllib_ez.errors import EnvironmentSpecError

SMALLEST_PICTURE = 16  # pixels a side
MOST_CHANNELS = 32  # more are taken for channels-first pictures


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """One frame's space, and the function that makes it of an observation."""

    space: Box  # [H, W, C] uint8 or [D] f32
    convert: Callable[[Any], np.ndarray]  # raises ValueError for an observation of another shape


def frame_format(space: gymnasium.Space[Any]) -> FrameFormat:
    """Chooses the format of an observation space, or refuses it."""
    if not isinstance(space, Box):
        raise EnvironmentSpecError(_not_a_box(space))
    if _is_picture(space):
        return _picture(space)
    return _vector(space)


def _not_a_box(space: gymnasium.Space[Any]) -> str:
    kind = type(space).__name__
    if isinstance(space, gymnasium.spaces.Text):
        advice = "encode the text as numbers in a gymnasium.ObservationWrapper"
    else:
        advice = (
            "flatten it with gymnasium.wrappers.FlattenObservation, or pick the part that "
            "matters in a gymnasium.ObservationWrapper"
        )
    return (
        f"not yet supported: {kind} observation space {space}; observations must be a Box: {advice}"
    )


def _is_picture(space: Box) -> bool:
    dims: tuple[int, ...] = (2, 3) if space.dtype == np.uint8 else ()
    if np.issubdtype(space.dtype, np.floating):
        dims = (3,)
    # Of channels-first the first side is small, of channels-last the third: look at the others.
    return len(space.shape) in dims and sorted(space.shape)[-2] >= SMALLEST_PICTURE


def _picture(space: Box) -> FrameFormat:
    shape = space.shape if len(space.shape) == 3 else (*space.shape, 1)
    if min(shape[:2]) < SMALLEST_PICTURE or shape[2] > MOST_CHANNELS:
        raise EnvironmentSpecError(
            f"pictures must be [H, W, C] with sides >= {SMALLEST_PICTURE} and at most "
            f"{MOST_CHANNELS} channels, got {space.shape}; move the channels last with "
            f"gymnasium.wrappers.TransformObservation"
        )
    if space.dtype == np.uint8:
        convert = _uint8_picture(shape)
    elif (space.low >= 0).all() and (space.high <= 1).all():
        convert = _unit_picture(shape)
    else:
        raise EnvironmentSpecError(
            f"float pictures must have bounds in [0, 1] (they become uint8, times 255), got "
            f"{space.low.min()}..{space.high.max()}; give uint8, or rescale with "
            f"gymnasium.wrappers.RescaleObservation(env, 0, 1)"
        )
    return FrameFormat(space=Box(0, 255, shape, np.uint8), convert=convert)


def _uint8_picture(shape: tuple[int, ...]) -> Callable[[Any], np.ndarray]:
    def convert(obs: Any) -> np.ndarray:
        frame = np.asarray(obs)
        if frame.dtype != np.uint8:
            raise ValueError(f"observation must be uint8 as its space says, got {frame.dtype}")
        return frame.reshape(shape)

    return convert


def _unit_picture(shape: tuple[int, ...]) -> Callable[[Any], np.ndarray]:
    def convert(obs: Any) -> np.ndarray:
        frame = np.asarray(obs)
        if not (frame.min() >= 0 and frame.max() <= 1):
            raise ValueError(
                f"observation must be in [0, 1] as its space says, got {frame.min()}..{frame.max()}"
            )
        return np.rint(frame * 255).astype(np.uint8).reshape(shape)

    return convert


def _vector(space: Box) -> FrameFormat:
    size = int(np.prod(space.shape))

    def convert(obs: Any) -> np.ndarray:
        return np.asarray(obs, np.float32).reshape(size)

    def bound(limit: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # a float64 bound beyond f32 becomes infinite
            return limit.reshape(size).astype(np.float32)

    return FrameFormat(
        space=Box(bound(space.low), bound(space.high), dtype=np.float32), convert=convert
    )

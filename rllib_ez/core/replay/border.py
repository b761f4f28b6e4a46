"""Looks at segments before replay takes them in: all are right, or none is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.types import Segment

SUM_TOLERANCE = 1e-3  # of a row of policy around 1


def check_segments(
    segments: Sequence[Segment], layout: SlotLayout, open_episodes: Collection[int]
) -> None:
    """Raises ValueError, by place, name and value, at the first thing that is wrong."""
    for place, segment in enumerate(segments):
        try:
            _check_shapes(segment, layout)
            _check_values(segment, layout)
        except ValueError as error:
            raise ValueError(f"segments[{place}].{error}") from None
    _check_order(segments, open_episodes)


def _check_shapes(segment: Segment, layout: SlotLayout) -> None:
    steps = len(segment.action)
    num_frames = steps + segment.ended
    if num_frames == 0:
        raise ValueError("action must hold at least one step of a running episode, got 0")
    if len(segment.frames) != num_frames:
        last = "and the final one, " if segment.ended else ""
        raise ValueError(
            f"frames must hold one frame for each of {steps} steps, {last}got {len(segment.frames)}"
        )
    _check_array("frames", segment.frames, (num_frames, *layout.frame_shape), layout.frame_dtype)
    _check_array("action", segment.action, (steps,), np.dtype(np.int32))
    _check_array("reward", segment.reward, (steps,), np.dtype(np.float32))
    probs_shape = (steps, layout.num_actions)
    _check_array("policy", segment.policy, probs_shape, np.dtype(np.float32))
    _check_array("root_value", segment.root_value, (steps,), np.dtype(np.float32))


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} {shape}, got {array.dtype} {array.shape}")


def _check_values(segment: Segment, layout: SlotLayout) -> None:
    if not -(2**63) <= segment.episode_id < 2**63:
        raise ValueError(f"episode_id must fit into 64 bits, got {segment.episode_id}")
    if segment.collected_at_update < 0:
        raise ValueError(f"collected_at_update must be >= 0, got {segment.collected_at_update}")
    if layout.frame_dtype.kind == "f":
        _check_finite("frames", segment.frames)
    if not len(segment.action):
        return
    _check_finite("reward", segment.reward)
    _check_finite("root_value", segment.root_value)
    lowest, highest = segment.action.min(), segment.action.max()
    if lowest < 0 or highest >= layout.num_actions:
        raise ValueError(
            f"action must be in [0, {layout.num_actions}), got {lowest if lowest < 0 else highest}"
        )
    sums = segment.policy.sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE) | (segment.policy.min(axis=1) < 0)
    if wrong.any():
        step = int(wrong.argmax())
        raise ValueError(
            f"policy must be >= 0 and sum to 1, got {segment.policy[step]} at step {step}"
        )


def _check_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        step = int(np.argwhere(~finite)[0, 0])
        raise ValueError(f"{name} must be finite, got {array[step]} at step {step}")


def _check_order(segments: Sequence[Segment], open_episodes: Collection[int]) -> None:
    begun, ended = set[int](), set[int]()
    for place, segment in enumerate(segments):
        episode = segment.episode_id
        if episode in ended:
            raise ValueError(
                f"segments[{place}] must come before the end of its episode {episode}, "
                "got one after it"
            )
        if segment.is_first and (episode in begun or episode in open_episodes):
            raise ValueError(
                f"segments[{place}].is_first must be False in an episode already begun, "
                f"got True for episode {episode}"
            )
        begun.add(episode)
        if segment.ended:
            ended.add(episode)

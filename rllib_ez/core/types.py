"""What travels between the stages.

Axes: B roots or samples, T steps of a segment, K unroll_steps, A actions, L frame_stack.
`*frame` is the shape of one frame as the environment gives it: [H, W, C] uint8 or [D] f32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor  # an array in the host's memory, or a tensor in a device's


@dataclass(frozen=True, slots=True)
class RootOutput:
    """What the network says of real observations."""

    latent: Tensor  # [B, ...] f32
    policy_logits: Tensor  # [B, A] f32
    value_logits: Tensor  # [B, S] f32, categorical over the scaled support


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What the network says of one imagined step."""

    latent: Tensor  # [B, ...] f32
    memory: Tensor  # [2, B, M] f32, the LSTM's (h, c) after the step
    value_prefix_logits: Tensor  # [B, S] f32, rewards summed since the last reset
    policy_logits: Tensor  # [B, A] f32
    value_logits: Tensor  # [B, S] f32


@dataclass(frozen=True, slots=True)
class SearchTrace:
    """What one search thinks of each root's actions, and how it expects things to go on.

    A variation starts with the action chosen at the root and follows the most visited child (of
    equals the lower action) to a node without children.
    """

    q: np.ndarray  # [B, A] f32, discounted return of each root action; nan where never tried
    principal_variation: np.ndarray  # [B, D] i32, -1 past its end; D = the longest's, >= 1

    def rows(self, index: np.ndarray) -> SearchTrace:
        """The traces of roots `index` [M] i64, in that order; D becomes that of their longest."""
        variation = self.principal_variation[index]
        longest = (variation >= 0).sum(axis=1).max(initial=1)
        return SearchTrace(self.q[index], variation[:, :longest])


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one search concluded about each root."""

    action: np.ndarray  # [B] i64, to play: the most visited (PUCT), the winner (Gumbel)
    policy: np.ndarray  # [B, A] f32, what the policy is taught: visit_probs, or the improved policy
    visit_counts: np.ndarray  # [B, A] i32, rows sum to the root's number of simulations
    visit_probs: np.ndarray  # [B, A] f32, rows sum to 1, exactly 0 where illegal
    root_value: np.ndarray  # [B] f32, a return, in reward units
    network_value: np.ndarray  # [B] f32, the value head's own opinion of the root
    trace: SearchTrace | None = None  # where it was asked for

    def rows(self, index: np.ndarray) -> SearchResult:
        """The results of roots `index` [M] i64, in that order."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "trace"}
        return SearchResult(**arrays, trace=None if self.trace is None else self.trace.rows(index))


@dataclass(frozen=True, slots=True)
class Segment:
    """T consecutive steps of one episode of one environment.

    An episode reaches replay as one segment or several, in order. `frames[t]` is what was
    seen before `action[t]`. The segment that ends the episode carries one frame more: the
    final observation.
    """

    episode_id: int  # unique over all env runners of a run
    is_first: bool  # frames[0] is the episode's first observation
    frames: np.ndarray  # [T, *frame], or [T + 1, *frame] when the episode ended here
    action: np.ndarray  # [T] i32
    reward: np.ndarray  # [T] f32, reward[t] follows action[t]; clipped where the env clips
    policy: np.ndarray  # [T, A] f32, from the search that acted
    root_value: np.ndarray  # [T] f32, from the search that acted
    terminated: bool  # the world ended: value 0 after the last step
    truncated: bool  # cut off: the final observation still has a value
    collected_at_update: int  # the actor's number of gradient updates, for the sample's age
    score: float = 0.0  # rewards of these steps before any clipping, summed

    @property
    def ended(self) -> bool:
        """Whether the episode ended with this segment."""
        return self.terminated or self.truncated

    def env_steps(self) -> int:
        """Number of environment steps (RLlib calls this)."""
        return len(self.action)

    def agent_steps(self) -> int:
        """Number of agent steps, the same with one agent (RLlib calls this)."""
        return len(self.action)


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode, or what replay still holds of it: its last T steps."""

    episode_id: int
    is_first: bool  # frames[0] is the episode's first observation: nothing is missing
    frames: np.ndarray  # [T + 1, *frame], with the final observation
    action: np.ndarray  # [T] i32
    reward: np.ndarray  # [T] f32, as in `Segment`
    policy: np.ndarray  # [T, A] f32
    root_value: np.ndarray  # [T] f32
    collected_at_update: np.ndarray  # [T + 1] i64
    terminated: bool  # else truncated
    score: float  # rewards of the whole episode before any clipping, summed


@dataclass(frozen=True, slots=True)
class SampledWindows:
    """B start positions drawn from replay, each with the K steps that follow.

    Past an episode's end the last slot repeats and `is_real` is False.
    """

    slot: np.ndarray  # [B] i64, the start positions
    generation: np.ndarray  # [B] i64, how often the slot has been overwritten
    is_weight: np.ndarray  # [B] f32, importance weights, max 1
    slots: np.ndarray  # [B, K+1] i64, the slot of each unrolled position
    is_real: np.ndarray  # [B, K+1] bool, the position has an observation
    frames: Array  # [B, L+K, *frame]; observation k is frames[:, k:k+L]


@dataclass(frozen=True, slots=True)
class PositionBatch:
    """M positions to search anew. Observations overlap, so each frame travels once."""

    frames: Array  # [F, *frame]
    stack: np.ndarray  # [M, L] i64, the frames that each observation is made of, oldest first
    position: np.ndarray  # [M] i64, a number that no other position of the run has

    def observations(self) -> Array:
        """[M, L, *frame], where the frames are."""
        if isinstance(self.frames, np.ndarray):
            return np.take(self.frames, self.stack, axis=0)
        return self.frames[torch.from_numpy(self.stack).to(self.frames.device)]


@dataclass(frozen=True, slots=True)
class FreshTargets:
    """What the target network's search says of M positions."""

    policy: np.ndarray  # [M, A] f32, see `SearchResult.policy`
    root_value: np.ndarray  # [M] f32, mean of the search's returns
    network_value: np.ndarray  # [M] f32, the value head alone


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """Everything one gradient update needs. Arrays are C-contiguous and own their memory."""

    frames: Array  # [B, L+K, *frame]; observation k is frames[:, k:k+L]
    action: np.ndarray  # [B, K] i64, random past a terminal
    value_prefix: np.ndarray  # [B, K] f32, rewards summed since the last LSTM reset
    value: np.ndarray  # [B, K+1] f32, n-step returns
    policy: np.ndarray  # [B, K+1, A] f32, rows sum to 1
    value_mask: np.ndarray  # [B, K+1] f32, 0 where the target is unknown (past a truncation)
    policy_mask: np.ndarray  # [B, K+1] f32, 0 at and past the end of the episode
    prefix_mask: np.ndarray  # [B, K] f32, 0 past a truncation
    consistency_mask: np.ndarray  # [B, K] f32, 0 where there is no observation to match
    is_weight: np.ndarray  # [B] f32
    slot: np.ndarray  # [B] i64, where the new priority goes
    generation: np.ndarray  # [B] i64, a stale generation makes a late priority harmless

    def rows(self, start: int, stop: int) -> TrainBatch:
        """Samples start .. stop as a batch of their own."""
        parts = {field.name: getattr(self, field.name)[start:stop] for field in fields(self)}
        return TrainBatch(
            **{
                name: np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part
                for name, part in parts.items()
            }
        )

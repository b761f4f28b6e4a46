"""A trained agent to call from anywhere: no Ray, no environment, five lines of code.

from rllib_ez import Agent

agent = Agent.load("runs/cartpole")
action = agent.act(observation)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rllib_ez.core.acting import Actor
from rllib_ez.core.agent_card import AgentCard, read_agent
from rllib_ez.core.engines import SearchEngine, StepEngine, blank_engine
from rllib_ez.core.types import SearchResult
from rllib_ez.errors import CheckpointError, ObservationError


class Agent:
    """Network and search of a checkpoint. It acts greedily: same input, same action."""

    def __init__(self, card: AgentCard, model: StepEngine | SearchEngine) -> None:
        self.card = card
        self._actor = Actor(model, card.search)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        num_simulations: int | None = None,
        device: str = "cpu",
        engine: str = "auto",
    ) -> Agent:
        """Reads an agent.

        Args:
            checkpoint: a checkpoint's folder, or a run's (then its newest checkpoint).
            num_simulations: of each search; None: as it was evaluated in training.
            device: "cpu" or "cuda".
            engine: "auto" (the fastest), "compiled" (CPU) or "torch".

        Raises:
            CheckpointError: nothing there, not ours, of a newer format, or cut short.
        """
        card, weights = read_agent(checkpoint)
        if num_simulations is not None:
            card = replace(card, search=replace(card.search, num_simulations=num_simulations))
        try:
            return cls.of(card, weights, device=device, engine=engine)
        except CheckpointError as error:
            raise CheckpointError(f"{error} in {checkpoint}") from error

    @classmethod
    def of(
        cls,
        card: AgentCard,
        weights: Mapping[str, Tensor],
        *,
        device: str = "cpu",
        engine: str = "auto",
    ) -> Agent:
        """An agent of what `read_agent` has read.

        Raises:
            CheckpointError: the weights do not fit the card.
        """
        model = blank_engine(card.model, device=device, engine=engine)
        try:
            model.load(weights)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"checkpoint must hold weights that fit its card, got {error}"
            ) from error
        return cls(card, model)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """[L, *frame]: a stack of frames, oldest first."""
        return (self.card.model.frame_stack, *self.card.model.frame_shape)

    def act(self, observation: npt.ArrayLike) -> int:
        """The action for one observation.

        Args:
            observation: [L, *frame], or [*frame] where L is 1 or the episode has just begun
                (its first frame then fills the stack). uint8 for pixels.

        Raises:
            ObservationError: another shape or dtype, or numbers that are not finite.
        """
        return int(self.search(self._single(observation)[None]).action[0])

    def search(
        self,
        observations: npt.ArrayLike,
        *,
        legal: np.ndarray | None = None,
        seeds: np.ndarray | None = None,
        num_simulations: np.ndarray | None = None,
        trace: bool = False,
    ) -> SearchResult:
        """Searches a batch and tells all: actions, visits, values.

        Args:
            observations: [B, L, *frame].
            legal: [B, A] bool; None: every action.
            seeds: [B] u64, break ties; None: 0 for each.
            num_simulations: [B] integers >= 1, the budget of each; None: the agent's own.
            trace: tell Q values and principal variations too, as `result.trace`.
        """
        stacks = self._checked(as_array(observations), self.observation_shape, batch=True)
        if seeds is None:
            seeds = np.zeros(len(stacks), np.uint64)
        return self._actor.exploit(
            stacks, seeds=seeds, legal=legal, num_simulations=num_simulations, trace=trace
        )

    def policy(self, stacks: np.ndarray, seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The form that `envs.play_episodes` takes: actions [B] for stacks [B, L, *frame]."""
        return self._actor.play(stacks, seeds, steps, seed=self.card.seed)

    def _single(self, observation: npt.ArrayLike) -> np.ndarray:
        array = as_array(observation)
        if array.shape == self.card.model.frame_shape:
            array = np.broadcast_to(array, self.observation_shape)
        return self._checked(array, self.observation_shape, batch=False)

    def _checked(self, array: np.ndarray, shape: tuple[int, ...], *, batch: bool) -> np.ndarray:
        got = array.shape[1:] if batch else array.shape
        if got != shape or (batch and (array.ndim == 0 or len(array) == 0)):
            expected: Any = ("B", *shape) if batch else shape
            raise ObservationError(
                f"observation must have shape {expected} (frame stack, frame), got {array.shape}"
            )
        dtype = np.dtype(self.card.frame_dtype)
        if dtype == np.uint8 and array.dtype != np.uint8:
            raise ObservationError(f"observation must be uint8 (pixels 0..255), got {array.dtype}")
        if not np.issubdtype(array.dtype, np.number) and array.dtype != np.bool_:
            raise ObservationError(f"observation must be numbers, got dtype {array.dtype}")
        array = array.astype(dtype)
        if dtype != np.uint8 and not np.isfinite(array).all():
            raise ObservationError("observation must be finite, got nan or infinity")
        return array


def as_array(observation: npt.ArrayLike) -> np.ndarray:
    """Numbers as an array; ObservationError where rows differ in length."""
    try:
        return np.asarray(observation)
    except ValueError as error:
        raise ObservationError(f"observation must be an array of numbers, got {error}") from error

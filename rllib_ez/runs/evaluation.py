"""Plays an agent's evaluation episodes: the same ones in `ez train` and in `ez evaluate`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch

from rllib_ez.agent import Agent
from rllib_ez.core.agent_card import AgentCard
from rllib_ez.core.random import evaluation_seeds
from rllib_ez.envs import (
    MAX_EVALUATION_ENVS,
    EpisodeResult,
    VectorEnv,
    atari_game,
    describe,
    make_env,
    play_episodes,
)
from rllib_ez.errors import EnvironmentSpecError, SettingError
from rllib_ez.runs.protocol import protocol_of
from rllib_ez.runs.threads import default_threads


class Player(Protocol):
    """Who can play episodes: an `Agent`, or one behind a service."""

    card: AgentCard

    def policy(self, stacks: np.ndarray, seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Actions [B] for stacks [B, L, *frame], episode seeds [B] and steps so far [B]."""
        ...


def load_agent(
    checkpoint: Path, *, num_simulations: int | None = None, device: str = "cpu"
) -> Agent:
    """The agent, with torch set to the threads it was trained with by default.

    Raises:
        SettingError: a number or the device is wrong.
        CheckpointError: see `Agent.load`.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise SettingError(f"device must be cpu, or cuda where there is a GPU, got {device!r}")
    agent = Agent.load(checkpoint, num_simulations=num_simulations, device=device)
    torch.set_num_threads(default_threads(agent.card.model.network))
    return agent


def placed_in(card: AgentCard, env: str | None) -> AgentCard:
    """The card with another environment; None: its own. Spaces are compared when it is made."""
    if env is None or env == card.env:
        return card
    sizes: dict[str, Any] = {} if describe(env).is_atari else {"frame_size": 96, "grayscale": False}
    return replace(card, env=env, env_config={}, **sizes)


def with_sticky_actions(card: AgentCard, probability: float) -> AgentCard:
    """The card with an Atari game whose frames repeat the last action now and then.

    Raises:
        SettingError: it is to play another environment.
    """
    if atari_game(card.env) is None:
        raise SettingError(
            f"sticky-actions must be left alone unless the environment is Atari, got "
            f"{probability:g} for {card.env}"
        )
    return replace(card, env_config={**card.env_config, "sticky_actions": probability})


def make_evaluation_env(card: AgentCard, num_envs: int, *, render: bool = False) -> VectorEnv:
    """The environments an agent was trained on, by the rules of evaluation.

    Raises:
        EnvironmentSpecError: it is not here, or is another one than in training.
    """
    if render:  # pygame would look for a sound card and complain
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    env = make_env(
        card.env,
        num_envs,
        training=False,
        frame_size=card.frame_size,
        gray=card.grayscale,
        env_config=card.env_config,
        render=render,
    )
    have = (tuple(env.frame_space.shape), int(env.action_space.n))
    want = (card.model.frame_shape, card.model.num_actions)
    if have != want:
        raise EnvironmentSpecError(
            f"{card.env} must have frames {want[0]} and {want[1]} actions as in training, got "
            f"frames {have[0]} and {have[1]} actions"
        )
    return env


class Evaluator:
    """Plays the same episodes with whatever agent it is handed; keeps its environments."""

    def __init__(self, card: AgentCard, num_episodes: int, *, seed: int | None = None) -> None:
        if num_episodes < 1:
            raise SettingError(f"episodes must be >= 1, got {num_episodes}")
        seed = card.seed if seed is None else seed
        self.seeds = evaluation_seeds(seed, num_episodes)
        self.protocol = protocol_of(
            card.env,
            card.env_config,
            weights="checkpoint",
            episodes=num_episodes,
            num_simulations=card.search.num_simulations,
            seed=seed,
        )
        self._env = make_evaluation_env(card, min(num_episodes, MAX_EVALUATION_ENVS))

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._env.close()

    def play(
        self,
        agent: Player,
        *,
        on_episode: Callable[[int], None] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> list[EpisodeResult]:
        """Every episode, in the order of the seeds.

        Args:
            on_episode: hears how many are done.
            on_step: called after each step; may raise to end it all.
        """
        played: list[EpisodeResult] = []
        for episode in play_episodes(
            agent.policy,
            self._env,
            seeds=self.seeds,
            frame_stack=agent.card.model.frame_stack,
            on_step=None if on_step is None else lambda env: on_step(),
        ):
            played.append(episode)
            if on_episode is not None:
                on_episode(len(played))
        return sorted(played, key=lambda episode: self.seeds.index(episode.seed))


def mean_return(episodes: list[EpisodeResult]) -> float:
    """The mean of the unclipped returns."""
    return sum(episode.score for episode in episodes) / len(episodes)

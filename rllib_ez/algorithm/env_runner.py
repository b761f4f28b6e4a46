"""The env runner that searches: steps a vector env, hands out segments, evaluates.

Axes: E environments, T steps, A actions, L frame_stack.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.games import Games
from rllib_ez.algorithm.metrics import log_episode, log_steps
from rllib_ez.algorithm.requests import RunnerReport, SampleRequest
from rllib_ez.algorithm.rllib_private import keep_torch_fast
from rllib_ez.core.acting import Actor, temperature_at
from rllib_ez.core.clock import StageClock
from rllib_ez.core.engines import make_engine, pick_device
from rllib_ez.core.random import Stream, evaluation_seeds, generator, search_seeds
from rllib_ez.core.types import Segment
from rllib_ez.envs import (
    MAX_EVALUATION_ENVS,
    EpisodeResult,
    VectorEnv,
    make_env,
    play_episodes,
)
from rllib_ez.errors import EnvironmentCrashError


class MCTSEnvRunner(EnvRunner, Checkpointable):
    """Acts by search; every game is a function of its seed and the actions taken."""

    def __init__(self, *, config: EfficientZeroConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        keep_torch_fast()
        self.worker_index = kwargs.get("worker_index") or 0
        self.clock = StageClock()
        self.update = 0  # gradient updates that the weights have seen
        self._birth = secrets.randbits(63)
        self._notes: list[str] = []
        self._spec = config.env_spec()
        self._frame_stack = config.model_config_for(self._spec).frame_stack
        self._evaluation_env: VectorEnv | None = None
        self.games: Games | None = None
        self.make_module()
        has_env = not config.in_evaluation and (
            self.worker_index > 0
            or config.num_env_runners == 0
            or config.create_env_on_local_worker
        )
        if has_env:
            self.make_env()

    def assert_healthy(self) -> None:
        """Raises unless there is something to sample from."""
        if not self.config.in_evaluation:
            _ = self.playing

    def make_module(self) -> None:
        """Builds the RLModule and wraps its network for search."""
        spec = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        device = pick_device(self.config.inference_device)
        self.actor = Actor(
            make_engine(self.module.model, device=device, engine=self.config.inference_engine),
            self.config.search_config(evaluation=self.config.in_evaluation),
        )

    def make_env(self) -> None:
        """Makes the environments and starts an episode in each."""
        config = self.config
        self.games = Games(
            partial(self._new_env, config.num_envs_per_env_runner, training=True),
            self._spec,
            frame_stack=self._frame_stack,
            seed=config.seed,
            runner=self.worker_index,
            clock=self.clock,
        )

    @property
    def playing(self) -> Games:
        """The games under way; raises RuntimeError in a runner that has none."""
        if self.games is None:
            raise RuntimeError("env must be made before sampling; this runner has none")
        return self.games

    @property
    def env(self) -> VectorEnv | None:
        """The training environments, if this runner has any; RLlib asks for it."""
        return self.games.env if self.games is not None else None

    @env.setter
    def env(self, value: None) -> None:
        """RLlib's base class says None before anything is made."""

    def _new_env(self, num_envs: int, *, training: bool) -> VectorEnv:
        config = self.config
        return make_env(
            config.resolved_env(),
            num_envs,
            training=training,
            frame_size=config.frame_size,
            gray=config.grayscale,
            env_config=dict(config.env_config),
        )

    def get_spaces(self) -> dict[str, tuple[gymnasium.Space, gymnasium.Space]]:
        """Observation and action space: an observation is a stack of frames, [L, *frame]."""
        observation = self._spec.observation_space(self._frame_stack)
        spaces: tuple[Any, Any] = (observation, gymnasium.spaces.Discrete(self._spec.num_actions))
        keys = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES, DEFAULT_MODULE_ID)
        return dict.fromkeys(keys, spaces)

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        force_reset: bool = False,
        random_actions: bool = False,
    ) -> list[Segment] | list[EpisodeResult]:
        """Training: steps every environment. Evaluation: plays whole episodes.

        Args:
            num_timesteps: env steps, rounded up to whole steps of all environments (training;
                default `rollout_fragment_length` each) or to whole episodes (evaluation).
            num_episodes: evaluation only: exactly so many.
            force_reset: RLlib's; evaluation always starts anew, training never does.
            random_actions: act uniformly, without a search.
        """
        if self.config.in_evaluation or num_episodes is not None:
            return self._evaluate(num_episodes or -(-(num_timesteps or 1) // 1000))
        return self._play(num_timesteps, random_actions=random_actions)[0]

    def collect(
        self, weights: dict[str, torch.Tensor] | None, *, request: SampleRequest
    ) -> tuple[RunnerReport | list[Segment], ...]:
        """Steps every environment; new weights come along with the request.

        Args:
            weights: of the network, None if they are those that are here.
            request: what to do.

        Returns:
            A report, and for each replay shard the segments that are for it.
        """
        start = time.perf_counter()
        if request.birth not in (None, self._birth):  # Ray has started this process anew
            report = RunnerReport(birth=self._birth, is_meant=False)
            return (report, *([] for _ in range(request.num_parts)))
        if weights is not None:
            with self.clock.stage("transfer"):
                self.set_weights(weights, request.update)
        if request.life != self.playing.life:
            self.playing.begin_life(request.life)
        segments, lost = self._play(None, random_actions=request.random_actions)
        parts: list[list[Segment]] = [[] for _ in range(request.num_parts)]
        for segment in segments:
            parts[segment.episode_id % request.num_parts].append(segment)
        seconds, notes = dict(self.clock.seconds), tuple(self._notes)
        self.clock.seconds.clear()
        self._notes.clear()
        report = RunnerReport(
            birth=self._birth,
            is_meant=True,
            num_env_steps=sum(len(segment.action) for segment in segments),
            lost_episodes=tuple(lost),
            metrics=self.metrics.reduce(),
            seconds=seconds,
            busy_seconds=time.perf_counter() - start,
            notes=notes,
        )
        return (report, *parts)

    def set_weights(self, weights: dict[str, torch.Tensor], update: int) -> None:
        """Installs the network after `update` gradient updates."""
        self.actor.model.load(weights)
        self.update = update

    def _play(
        self, num_timesteps: int | None, *, random_actions: bool
    ) -> tuple[list[Segment], list[int]]:
        """Some steps in every environment, and the episodes lost as an environment raised."""
        envs = self.playing.env.num_envs
        steps = self.config.rollout_fragment_length
        if num_timesteps is not None:
            steps = -(-num_timesteps // envs)
        segments: list[Segment] = []
        lost: list[int] = []
        for _ in range(steps):
            try:
                segments += self._step(random_actions=random_actions)
            except EnvironmentCrashError as error:
                if not self.config.restart_failed_env_runners:
                    raise
                segments += self.playing.cut(self.update)
                lost += self.playing.replace_crashed(error)
                self._notes.append(f"{error}; its games begin again")
        segments += self.playing.cut(self.update)
        log_steps(self.metrics, sum(len(segment.action) for segment in segments))
        return segments, lost

    def _step(self, *, random_actions: bool) -> list[Segment]:
        """One action in every environment; returns the episodes that ended."""
        action, policy, root_value = self._act(random_actions=random_actions)
        segments, over = self.playing.step(action, policy, root_value, update=self.update)
        for game in over:
            log_episode(self.metrics, self.config, score=game.score, length=len(game.actions))
        return segments

    def _act(self, *, random_actions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Actions [E] i64, policy [E, A] f32, root values [E] f32."""
        seed, envs = self.config.seed, self.playing.env.num_envs
        clock = (self.worker_index, self.playing.num_vector_steps)
        rng = generator(seed, Stream.ACT, *clock)
        if random_actions:
            actions = self._spec.num_actions
            uniform = np.full((envs, actions), 1 / actions, np.float32)
            return rng.integers(actions, size=envs), uniform, np.zeros(envs, np.float32)
        columns = np.stack([np.full(envs, c) for c in clock] + [np.arange(envs)], axis=1)
        with self.clock.stage("search"):
            action, result = self.actor.explore(
                self.playing.stacks.stacks,
                seeds=search_seeds(seed, Stream.ACT, columns),
                temperature=temperature_at(
                    self.update, temperature_updates=self.config.temperature_updates
                ),
                rng=rng,
            )
        at_random = rng.random(envs) < self.config.random_action_fraction
        action = np.where(at_random, rng.integers(self._spec.num_actions, size=envs), action)
        return action, result.policy, result.root_value

    def _evaluate(self, num_episodes: int) -> list[EpisodeResult]:
        """Plays whole episodes greedily; the same seeds at every evaluation."""
        if self._evaluation_env is None:
            envs = min(num_episodes, MAX_EVALUATION_ENVS)
            self._evaluation_env = self._new_env(envs, training=False)
        seed = self.config.seed
        policy = partial(self.actor.play, seed=seed)
        seeds = evaluation_seeds(seed, num_episodes, runner=self.worker_index or 1)
        env, stack = self._evaluation_env, self._frame_stack
        episodes = list(play_episodes(policy, env, seeds=seeds, frame_stack=stack))
        for episode in episodes:
            log_episode(self.metrics, self.config, score=episode.score, length=episode.length)
        log_steps(self.metrics, sum(episode.length for episode in episodes))
        return episodes

    def get_metrics(self) -> dict[str, Any]:
        """What was logged since the last call."""
        return self.metrics.reduce()

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Counters and the games being played; the module's weights if asked for."""
        state: dict[str, Any] = {"update": self.update}
        if self.games is not None:
            state["games"] = self.games.get_state()
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = {DEFAULT_MODULE_ID: self.module.get_state()}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over weights, and a stopped runner's games by playing them again."""
        weights = state.get(COMPONENT_RL_MODULE)
        if isinstance(weights, ray.ObjectRef):  # RLlib's broadcast sends a reference
            weights = ray.get(weights)
        if weights is not None:
            self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
            self.module.eval()
            self.actor.model.refresh()
        self.update = state.get("update", self.update)
        if "games" in state and self.games is not None:
            self.games.set_state(state["games"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """How RLlib would make this runner again."""
        return (), {"config": self.config, "worker_index": self.worker_index}

    def stop(self) -> None:
        """Closes the environments."""
        for opened in (self.games, self._evaluation_env):
            if opened is not None:
                opened.close()

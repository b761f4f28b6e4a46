"""The env runner that searches: steps a vector env, hands out segments, evaluates.

Axes: E environments, T steps, A actions, L frame_stack.
"""

from __future__ import annotations

import warnings
import zlib
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
from rllib_ez.algorithm.metrics import log_episode, log_stages, log_steps
from rllib_ez.algorithm.pipeline import keep_torch_fast, pick_device
from rllib_ez.algorithm.tracks import Game, Track, play_again
from rllib_ez.core.acting import Actor, FrameStacks, temperature_at
from rllib_ez.core.clock import StageClock
from rllib_ez.core.engines import make_engine
from rllib_ez.core.random import (
    EPISODES_PER_RUNNER,
    Stream,
    episode_seeds,
    evaluation_seeds,
    generator,
    search_seeds,
)
from rllib_ez.core.types import Segment
from rllib_ez.envs import (
    MAX_EVALUATION_ENVS,
    EpisodeResult,
    VectorEnv,
    VectorStep,
    make_env,
    play_episodes,
)


class MCTSEnvRunner(EnvRunner, Checkpointable):
    """Acts by search; every game is a function of its seed and the actions taken."""

    def __init__(self, *, config: EfficientZeroConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        keep_torch_fast()
        self.worker_index = kwargs.get("worker_index") or 0
        self.clock = StageClock()
        self.update = 0  # gradient updates that the weights have seen
        self._num_vector_steps = 0
        self._num_episodes = 0
        self._num_games = 0
        self._spec = config.env_spec()
        self._frame_stack = config.model_config_for(self._spec).frame_stack
        self._evaluation_env: VectorEnv | None = None
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
        if self.env is None and not self.config.in_evaluation:
            raise RuntimeError("env must be made before sampling; this runner has none")

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
        config, spec = self.config, self._spec
        self.env = self._new_env(config.num_envs_per_env_runner, training=True)
        envs = self.env.num_envs
        shape, dtype = spec.frame_space.shape, spec.frame_dtype
        self._stacks = FrameStacks(envs, self._frame_stack, shape, dtype)
        self._games = [Game() for _ in range(envs)]
        self._tracks = [self._new_track() for _ in range(envs)]
        self._start_games(np.arange(envs))

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
        envs = self.env.num_envs
        steps = self.config.rollout_fragment_length
        if num_timesteps is not None:
            steps = -(-num_timesteps // envs)
        segments: list[Segment] = []
        for _ in range(steps):
            segments += self._step(random_actions=random_actions)
        segments += [track.cut(self.update) for track in self._tracks if track.action]
        log_steps(self.metrics, steps * envs)
        return segments

    def sample_with_weights(
        self, weights: dict[str, torch.Tensor], update: int, **kwargs: Any
    ) -> list[Segment] | list[EpisodeResult]:
        """Takes new weights along with the request: one message instead of two."""
        self.set_weights(weights, update)
        return self.sample(**kwargs)

    def set_weights(self, weights: dict[str, torch.Tensor], update: int) -> None:
        """Installs the network after `update` gradient updates."""
        self.actor.model.load(weights)
        self.update = update

    def _step(self, *, random_actions: bool) -> list[Segment]:
        """One action in every environment; returns the episodes that ended."""
        action, policy, root_value = self._act(random_actions=random_actions)
        for index, track in enumerate(self._tracks):
            track.frames.append(self._stacks.stacks[index, -1].copy())
            track.action.append(int(action[index]))
            track.policy.append(policy[index])
            track.root_value.append(root_value[index])
        with self.clock.stage("env"):
            step = self.env.step(action)
        self._num_vector_steps += 1
        for index, game in enumerate(self._games):
            self._tracks[index].reward.append(step.reward[index])
            game.actions.append(int(action[index]))
            game.score += float(step.score[index])
        return self._arrive(step)

    def _act(self, *, random_actions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Actions [E] i64, policy [E, A] f32, root values [E] f32."""
        seed, envs = self.config.seed, self.env.num_envs
        clock = (self.worker_index, self._num_vector_steps)
        rng = generator(seed, Stream.ACT, *clock)
        if random_actions:
            actions = self._spec.num_actions
            uniform = np.full((envs, actions), 1 / actions, np.float32)
            return rng.integers(actions, size=envs), uniform, np.zeros(envs, np.float32)
        columns = np.stack([np.full(envs, c) for c in clock] + [np.arange(envs)], axis=1)
        with self.clock.stage("search"):
            action, result = self.actor.explore(
                self._stacks.stacks,
                seeds=search_seeds(seed, Stream.ACT, columns),
                temperature=temperature_at(
                    self.update, temperature_updates=self.config.temperature_updates
                ),
                rng=rng,
            )
        at_random = rng.random(envs) < self.config.random_action_fraction
        action = np.where(at_random, rng.integers(self._spec.num_actions, size=envs), action)
        return action, result.policy, result.root_value

    def _arrive(self, step: VectorStep) -> list[Segment]:
        """Takes in what the environments answered; ends and begins episodes."""
        self._stacks.push(step.frames)
        ended = np.flatnonzero(step.terminated | step.truncated | step.needs_reset)
        segments = []
        for index in ended:
            track = self._tracks[index]
            terminated = bool(step.terminated[index])
            segments.append(track.cut(self.update, final=step.frames[index], terminated=terminated))
            self._tracks[index] = self._new_track()
        self._stacks.start(ended, step.frames[ended])  # a lost life: the game plays on
        over = np.flatnonzero(step.needs_reset)
        for index in over:
            game = self._games[index]
            log_episode(self.metrics, self.config, score=game.score, length=len(game.actions))
        if len(over):
            self._start_games(over)
        return segments

    def _new_track(self) -> Track:
        self._num_episodes += 1
        return Track(self.worker_index * EPISODES_PER_RUNNER + self._num_episodes)

    def _start_games(self, indices: np.ndarray) -> None:
        first = self.worker_index * EPISODES_PER_RUNNER + self._num_games
        seeds = episode_seeds(self.config.seed, Stream.EPISODE, len(indices), start=first)
        self._num_games += len(indices)
        for index, seed in zip(indices, seeds, strict=True):
            self._games[index] = Game(seed)
        with self.clock.stage("env"):
            self._stacks.start(indices, self.env.reset(indices, np.array(seeds)))

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
        log_stages(self.metrics, self.clock)
        return self.metrics.reduce()

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Counters and the games being played; the module's weights if asked for."""
        state: dict[str, Any] = {
            "update": self.update,
            "counters": (self._num_vector_steps, self._num_episodes, self._num_games),
        }
        if self.env is not None:
            state["games"] = [(g.seed, np.array(g.actions, np.int32), g.score) for g in self._games]
            state["tracks"] = [(track.episode_id, track.is_first) for track in self._tracks]
            state["stacks_crc"] = zlib.crc32(self._stacks.stacks.tobytes())
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
        if "games" in state and self.env is not None and len(state["games"]) == self.env.num_envs:
            self._num_vector_steps, self._num_episodes, self._num_games = state["counters"]
            self._games = [Game(seed, acts.tolist(), score) for seed, acts, score in state["games"]]
            self._tracks = [Track(number, is_first) for number, is_first in state["tracks"]]
            play_again(self.env, self._stacks, self._games)
            if zlib.crc32(self._stacks.stacks.tobytes()) != state["stacks_crc"]:
                self._give_up_games()

    def _give_up_games(self) -> None:
        """The environments did not repeat themselves: begins new games instead."""
        warnings.warn(
            f"environment {self.config.env!r} gave other frames for the same seed and actions, so "
            "the games under way cannot be resumed exactly; new ones begin",
            stacklevel=2,
        )
        self._tracks = [self._new_track() for _ in self._games]
        self._start_games(np.arange(self.env.num_envs))

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """How RLlib would make this runner again."""
        return (), {"config": self.config, "worker_index": self.worker_index}

    def stop(self) -> None:
        """Closes the environments."""
        for env in (self.env, self._evaluation_env):
            if env is not None:
                env.close()

"""Single gymnasium environments stepped together in a plain loop.

A loop, not gymnasium's SyncVectorEnv: that costs several times a CartPole's own step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from rllib_ez.envs.frames import frame_format
from rllib_ez.envs.guards import check_num_envs, check_playable, check_reset, checked_actions
from rllib_ez.envs.vector import VectorStep
from rllib_ez.errors import EnvironmentSpecError

GymEnv = gymnasium.Env[Any, Any]


class GymVectorEnv:
    """E gymnasium environments with Discrete actions and Box observations. A `VectorEnv`."""

    def __init__(self, envs: Sequence[GymEnv]) -> None:
        check_num_envs(len(envs))
        _check_alike(envs)
        discrete = _discrete(envs[0].action_space)
        frames = frame_format(envs[0].observation_space)
        self.num_envs = len(envs)
        self.frame_space = frames.space
        self.action_space: Discrete = Discrete(int(discrete.n))
        self._envs = list(envs)
        self._action_start = int(discrete.start)
        self._convert = frames.convert
        self._seeds = [-1] * len(envs)  # of the present episodes, for error texts
        self._needs_reset = np.ones(len(envs), bool)

    def reset(self, indices: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Starts a new episode in the named environments and returns their frames [M, *frame]."""
        check_reset(indices, seeds, self.num_envs)
        frames = self._empty_frames(len(indices))
        for row, (index, seed) in enumerate(zip(indices.tolist(), seeds.tolist(), strict=True)):
            self._seeds[index] = seed
            try:
                frames[row] = self._convert(self._envs[index].reset(seed=seed)[0])
            except Exception as error:
                raise self._failure(index, "reset", error) from error
        self._check_finite(frames, indices)
        self._needs_reset[indices] = False
        return frames

    def step(self, actions: np.ndarray) -> VectorStep:
        """Takes one action [E] i64 in every environment."""
        check_playable(self._needs_reset)
        listed = checked_actions(actions, self.num_envs, int(self.action_space.n))
        frames = self._empty_frames(self.num_envs)
        score, terminated, truncated = [], [], []
        for index, (env, action) in enumerate(zip(self._envs, listed, strict=True)):
            try:
                obs, reward, ended, cut, _ = env.step(action + self._action_start)
                frames[index] = self._convert(obs)
                score.append(float(reward))
            except Exception as error:
                raise self._failure(index, f"step with action {action}", error) from error
            terminated.append(ended)
            truncated.append(cut)
        return self._vector_step(frames, score, terminated, truncated)

    def _vector_step(
        self, frames: np.ndarray, score: list[float], terminated: list[bool], truncated: list[bool]
    ) -> VectorStep:
        score_array = np.array(score)
        self._check_finite(frames, np.arange(self.num_envs))
        self._check_finite(score_array, np.arange(self.num_envs))
        ended, cut = np.array(terminated, bool), np.array(truncated, bool)
        self._needs_reset = ended | cut
        return VectorStep(
            frames=frames,
            reward=score_array.astype(np.float32),
            score=score_array,
            terminated=ended,
            truncated=cut,
            needs_reset=self._needs_reset.copy(),
        )

    def render(self, index: int) -> np.ndarray:
        """Draws one environment as [H, W, 3] uint8."""
        env = self._envs[index]
        if env.render_mode != "rgb_array":
            raise EnvironmentSpecError(
                f"environment {index} must be made with render_mode='rgb_array' to be drawn "
                f"(make_env(..., render=True)), got {env.render_mode!r}"
            )
        return np.asarray(env.render())

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            env.close()

    def _empty_frames(self, rows: int) -> np.ndarray:
        return np.empty((rows, *self.frame_space.shape), self.frame_space.dtype)

    def _check_finite(self, values: np.ndarray, indices: np.ndarray) -> None:
        if values.dtype == np.uint8 or np.isfinite(values).all():
            return
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))[0])
        index = int(indices[row])
        raise RuntimeError(
            f"environment {index} (episode seed {self._seeds[index]}) must give finite "
            f"observations and rewards, got {values[row]}"
        )

    def _failure(self, index: int, deed: str, error: Exception) -> RuntimeError:
        seed = self._seeds[index]
        return RuntimeError(
            f"environment {index} (episode seed {seed}) failed in {deed}: "
            f"{type(error).__name__}: {error}"
        )


def _check_alike(envs: Sequence[GymEnv]) -> None:
    for env in envs:
        if not isinstance(env, gymnasium.Env):
            raise EnvironmentSpecError(
                f"an environment must be a gymnasium.Env, got {type(env).__name__}; a factory "
                f"must return a new gymnasium.Env at every call"
            )
        same = env.observation_space == envs[0].observation_space
        if not (same and env.action_space == envs[0].action_space):
            raise EnvironmentSpecError(
                f"environments of one vector must have the same spaces, got "
                f"{envs[0].observation_space}, {envs[0].action_space} and "
                f"{env.observation_space}, {env.action_space}"
            )
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise EnvironmentSpecError(
            "environments of one vector must be distinct objects, got the same one twice; a "
            "factory must return a new gymnasium.Env at every call"
        )


def _discrete(space: gymnasium.Space[Any]) -> Discrete:
    if isinstance(space, Discrete):
        return space
    raise EnvironmentSpecError(
        f"not yet supported: {type(space).__name__} action space {space}; actions must be "
        f"Discrete: map each of n integers to one action, e.g. with "
        f"gymnasium.wrappers.TransformAction(env, actions.__getitem__, Discrete(n))"
    )

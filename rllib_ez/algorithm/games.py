"""The games of one env runner: environments, frame stacks, and the steps not handed out yet.

Axes: E environments, A actions.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from rllib_ez.algorithm.tracks import Game, Track, play_again
from rllib_ez.core.acting import FrameStacks
from rllib_ez.core.clock import StageClock
from rllib_ez.core.random import EPISODES_PER_RUNNER, Stream, episode_seeds
from rllib_ez.core.types import Segment
from rllib_ez.envs import EnvSpec, VectorEnv
from rllib_ez.errors import EnvironmentCrashError

NUMBERS_PER_LIFE = 2**28  # episodes, games and steps that a runner counts between two losses
MOST_CRASHES = 3  # of the environments in a row, without a step in between


class Games:
    """Every game is a function of its seed and the actions taken."""

    def __init__(
        self,
        make: Callable[[], VectorEnv],
        spec: EnvSpec,
        *,
        frame_stack: int,
        seed: int,
        runner: int,
        clock: StageClock,
    ) -> None:
        self._make, self._spec = make, spec
        self._frame_stack, self._seed, self._runner = frame_stack, seed, runner
        self._clock = clock
        self._crashes = 0
        self.life = 0
        self.env = make()
        self._begin()

    def _begin(self) -> None:
        first = self.life * NUMBERS_PER_LIFE
        self.num_vector_steps = self._num_episodes = self._num_games = first
        self._start_all()

    def _start_all(self) -> None:
        envs, spec = self.env.num_envs, self._spec
        shape, dtype = spec.frame_space.shape, spec.frame_dtype
        self.stacks = FrameStacks(envs, self._frame_stack, shape, dtype)
        self._games = [Game() for _ in range(envs)]
        self.tracks = [self._new_track() for _ in range(envs)]
        self._start_games(np.arange(envs))

    def begin_life(self, life: int) -> None:
        """Begins games with numbers and seeds of their own, after the runner was lost."""
        self.life = life
        self._begin()

    def step(
        self, action: np.ndarray, policy: np.ndarray, root_value: np.ndarray, *, update: int
    ) -> tuple[list[Segment], list[Game]]:
        """One action in every environment.

        Args:
            action: [E] i64.
            policy: [E, A] f32, the search's.
            root_value: [E] f32, the search's.
            update: gradient updates that the acting weights have seen.

        Returns:
            The rest of the episodes that ended, and the games that are over.

        Raises:
            EnvironmentCrashError: an environment raised; see `replace_crashed`.
        """
        step = self._play(self.env.step, action)
        self._crashes = 0
        self.num_vector_steps += 1
        for i, (track, game) in enumerate(zip(self.tracks, self._games, strict=True)):
            track.frames.append(self.stacks.stacks[i, -1].copy())
            track.action.append(int(action[i]))
            track.policy.append(policy[i])
            track.root_value.append(root_value[i])
            track.reward.append(step.reward[i])
            track.score += float(step.score[i])
            game.actions.append(int(action[i]))
            game.score += float(step.score[i])
        self.stacks.push(step.frames)
        segments = []
        ended = np.flatnonzero(step.terminated | step.truncated | step.needs_reset)
        for index in ended:
            terminated = bool(step.terminated[index])
            track = self.tracks[index]
            segments.append(track.cut(update, final=step.frames[index], terminated=terminated))
            self.tracks[index] = self._new_track()
        self.stacks.start(ended, step.frames[ended])  # a lost life: the game plays on
        over = np.flatnonzero(step.needs_reset)
        games = [self._games[index] for index in over]
        if len(over):
            self._start_games(over)
        return segments, games

    def cut(self, update: int) -> list[Segment]:
        """Hands out the steps that were not yet, of the episodes under way."""
        return [track.cut(update) for track in self.tracks if track.action]

    def replace_crashed(self, error: EnvironmentCrashError) -> list[int]:
        """Makes the environments anew after one raised; all games begin again.

        Returns:
            The episodes whose rest will never come.

        Raises:
            EnvironmentCrashError: it happened too often without a step in between.
        """
        self._crashes += 1
        if self._crashes > MOST_CRASHES:
            raise EnvironmentCrashError(
                f"{error}, {self._crashes} times in a row: mend the environment"
            ) from error
        lost = [track.episode_id for track in self.tracks]
        with suppress(Exception):
            self.env.close()
        self.env = self._make()
        self._start_all()
        return lost

    def _new_track(self) -> Track:
        self._num_episodes += 1
        return Track(self._runner * EPISODES_PER_RUNNER + self._num_episodes)

    def _start_games(self, indices: np.ndarray) -> None:
        first = self._runner * EPISODES_PER_RUNNER + self._num_games
        seeds = episode_seeds(self._seed, Stream.EPISODE, len(indices), start=first)
        self._num_games += len(indices)
        for index, seed in zip(indices, seeds, strict=True):
            self._games[index] = Game(seed)
        self.stacks.start(indices, self._play(self.env.reset, indices, np.array(seeds)))

    def _play(self, method: Callable[..., Any], *args: Any) -> Any:
        try:
            with self._clock.stage("env"):
                return method(*args)
        except Exception as error:
            raise EnvironmentCrashError(
                f"environment {self._spec.name!r} must not raise while it is played, got "
                f"{type(error).__name__}: {error}"
            ) from error

    def get_state(self) -> dict[str, Any]:
        """Counters, and what it takes to find the games again."""
        return {
            "life": self.life,
            "counters": (self.num_vector_steps, self._num_episodes, self._num_games),
            "games": [(g.seed, np.array(g.actions, np.int32), g.score) for g in self._games],
            "tracks": [(track.episode_id, track.is_first) for track in self.tracks],
            "stacks_crc": zlib.crc32(self.stacks.stacks.tobytes()),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over a stopped runner's games by playing them again."""
        if len(state["games"]) != self.env.num_envs:
            return
        self.life = state["life"]
        self.num_vector_steps, self._num_episodes, self._num_games = state["counters"]
        self._games = [Game(seed, acts.tolist(), score) for seed, acts, score in state["games"]]
        self.tracks = [Track(number, is_first) for number, is_first in state["tracks"]]
        play_again(self.env, self.stacks, self._games)
        if zlib.crc32(self.stacks.stacks.tobytes()) == state["stacks_crc"]:
            return
        warnings.warn(
            f"environment {self._spec.name!r} gave other frames for the same seed and actions, so "
            "the games under way cannot be resumed exactly; new ones begin",
            stacklevel=2,
        )
        self.tracks = [self._new_track() for _ in self._games]
        self._start_games(np.arange(self.env.num_envs))

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()

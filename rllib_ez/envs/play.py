"""Plays whole episodes, each counted, none twice: the one evaluation loop of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rllib_ez.core.acting import FrameStacks
from rllib_ez.envs.vector import VectorEnv

MAX_EVALUATION_ENVS = 32  # more episodes than this take turns
# stacks [M, L, *frame], episode seeds [M], steps so far [M] -> actions [M]
Policy = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One finished episode."""

    seed: int  # of the environment
    score: float  # sum of unclipped rewards
    length: int  # agent steps

    def env_steps(self) -> int:
        """Number of environment steps (RLlib calls this)."""
        return self.length

    def agent_steps(self) -> int:
        """Number of agent steps, the same with one agent (RLlib calls this)."""
        return self.length


def play_episodes(
    policy: Policy,
    env: VectorEnv,
    *,
    seeds: list[int],
    frame_stack: int,
    on_step: Callable[[VectorEnv], None] | None = None,
) -> Iterator[EpisodeResult]:
    """Plays one episode per seed and yields each as it ends.

    Which episodes are played is settled before the first step: an environment that is done takes
    the next seed, and nothing is dropped because it lasts long (that would favour short ones).

    Args:
        policy: chooses actions for the environments that still play.
        env: made for evaluation, so that `terminated` means the game is over.
        seeds: one episode each.
        frame_stack: L.
        on_step: called after each step, to draw.
    """
    shape, dtype = env.frame_space.shape, np.dtype(str(env.frame_space.dtype))
    stacks = FrameStacks(env.num_envs, frame_stack, shape, dtype)
    queue = list(reversed(seeds))
    everyone = np.arange(env.num_envs)
    seed = np.array([queue.pop() if queue else seeds[0] for _ in everyone])
    playing = everyone < len(seeds)
    score, length = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    stacks.start(everyone, env.reset(everyone, seed))
    while playing.any():
        actions = np.zeros(env.num_envs, np.int64)
        actions[playing] = policy(stacks.stacks[playing], seed[playing], length[playing])
        step = env.step(actions)
        stacks.push(step.frames)
        if on_step is not None:
            on_step(env)
        score += step.score
        length += 1
        over = np.flatnonzero(step.needs_reset)
        for index in over:
            if playing[index]:
                yield EpisodeResult(int(seed[index]), float(score[index]), int(length[index]))
                playing[index] = bool(queue)
                seed[index] = queue.pop() if queue else seed[index]
            score[index] = length[index] = 0
        if len(over) and playing.any():
            stacks.start(over, env.reset(over, seed[over]))

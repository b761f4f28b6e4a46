"""What an env runner keeps of the games under way."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rllib_ez.core.acting import FrameStacks
from rllib_ez.core.types import Segment
from rllib_ez.envs import VectorEnv


@dataclass(slots=True)
class Game:
    """One environment since its last reset: enough to find it again after a stop."""

    seed: int = 0
    actions: list[int] = field(default_factory=list)
    score: float = 0.0


@dataclass(slots=True)
class Track:
    """The steps of one episode that have not been handed out yet."""

    episode_id: int
    is_first: bool = True
    score: float = 0.0  # rewards before any clipping, summed
    frames: list[np.ndarray] = field(default_factory=list)
    action: list[int] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    policy: list[np.ndarray] = field(default_factory=list)
    root_value: list[float] = field(default_factory=list)

    def cut(
        self, update: int, *, final: np.ndarray | None = None, terminated: bool = False
    ) -> Segment:
        """Hands out what is there; with `final`, the final observation, the episode is over."""
        frames = self.frames if final is None else [*self.frames, final]
        segment = Segment(
            episode_id=self.episode_id,
            is_first=self.is_first,
            frames=np.stack(frames),
            action=np.array(self.action, np.int32),
            reward=np.array(self.reward, np.float32),
            policy=np.stack(self.policy),
            root_value=np.array(self.root_value, np.float32),
            terminated=terminated,
            truncated=final is not None and not terminated,
            collected_at_update=update,
            score=self.score,
        )
        for kept in (self.frames, self.action, self.reward, self.policy, self.root_value):
            kept.clear()
        self.is_first = False
        self.score = 0.0
        return segment


def play_again(env: VectorEnv, stacks: FrameStacks, games: list[Game]) -> None:
    """Brings each environment to where its game stood: reset by seed, then the same actions.

    All games arrive at once; the environment of a shorter one idles before its reset.
    """
    longest = max(len(game.actions) for game in games)
    starts = np.array([longest - len(game.actions) for game in games])
    for now in range(longest + 1):
        begin = np.flatnonzero(starts == now)
        if len(begin):
            stacks.start(begin, env.reset(begin, np.array([games[i].seed for i in begin])))
        if now == longest:
            return
        begun = starts <= now
        actions = [
            game.actions[now - start] if start <= now else 0
            for game, start in zip(games, starts, strict=True)
        ]
        step = env.step(np.array(actions, np.int64))
        stacks.push(step.frames)
        lives_lost = np.flatnonzero(begun & (step.terminated | step.truncated))
        stacks.start(lives_lost, step.frames[lives_lost])
        idle = np.flatnonzero(~begun & step.needs_reset)
        if len(idle):
            env.reset(idle, np.zeros(len(idle), np.int64))

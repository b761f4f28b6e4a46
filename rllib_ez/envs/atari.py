"""Atari by the rules of Atari-100k.

No sticky actions, each action held for 4 frames, the last 2 of them merged by max, minimal
action set, 1-30 no-ops at the start, no FIRE pressed for the agent, at most 108,000 frames an
episode; frames resized by area to a square. While training, a lost life ends the trajectory
(the game plays on) and rewards are clipped to their sign. Frames are not stacked here.

Evaluation alone may be asked for sticky actions (Machado et al. 2018): in every emulator frame
ALE repeats the last action, with that probability, in place of the one it was given.
"""

from __future__ import annotations

import difflib
import functools
import re

import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Box, Discrete

from rllib_ez.envs.guards import check_num_envs, check_playable, check_reset, checked_actions
from rllib_ez.envs.vector import VectorStep
from rllib_ez.errors import EnvironmentSpecError, SettingError

ATARI_100K_GAMES = tuple(
    "alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command "
    "crazy_climber demon_attack freeway frostbite gopher hero jamesbond kangaroo krull "
    "kung_fu_master ms_pacman pong private_eye qbert road_runner seaquest up_n_down".split()
)
FRAME_SKIP = 4
MAX_NOOPS = 30
MAX_EPISODE_FRAMES = 108_000  # emulator frames, half an hour of play
_SEED_LIMIT = 2**31  # ALE takes 31 bits
_NEVER = 2**31 - 1


class Atari100kVectorEnv:
    """E emulators of one game, stepped by ALE's own threads. A `VectorEnv`.

    An episode is a pure function of its seed (taken modulo 2**31) and the actions, sticky or not:
    ALE draws what sticks from the seed.
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        training: bool,
        frame_size: int = 96,
        gray: bool = False,
        max_episode_frames: int = MAX_EPISODE_FRAMES,
        sticky_actions: float = 0.0,
        num_threads: int = 0,
    ) -> None:
        check_num_envs(num_envs)
        _check_at_least("frame_size", frame_size, 16)
        _check_at_least("max_episode_frames", max_episode_frames, FRAME_SKIP)
        _check_at_least("num_threads", num_threads, 0)
        _check_sticky_actions(sticky_actions, training=training)
        self.game = rom_name(game)
        self._ale = AtariVectorEnv(
            self.game,
            num_envs,
            num_threads=num_threads,  # 0: one per emulator, up to the cores
            # ALE merges stale frames into the last frame of an episode that it cuts off itself,
            # so the limit is kept here.
            max_num_frames_per_episode=_NEVER,
            repeat_action_probability=sticky_actions,
            full_action_space=False,
            img_height=frame_size,
            img_width=frame_size,
            grayscale=gray,
            stack_num=1,
            frameskip=FRAME_SKIP,
            maxpool=True,
            noop_max=MAX_NOOPS + 1,  # ALE draws from 0..noop_max - 1; 0 is drawn anew below
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self.num_envs = num_envs
        self.frame_space = Box(0, 255, (frame_size, frame_size, 1 if gray else 3), np.uint8)
        self.action_space: Discrete = Discrete(len(self._ale.ale.get_action_set()))
        self._training = training
        self._max_steps = -(-max_episode_frames // FRAME_SKIP)
        self._steps = np.zeros(num_envs, np.int64)  # of the present episodes
        self._lives = np.zeros(num_envs, np.int32)
        self._frames = np.zeros((num_envs, *self.frame_space.shape), np.uint8)
        self._needs_reset = np.ones(num_envs, bool)
        self._fresh = True  # ALE's first reset must be of all emulators

    def reset(self, indices: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Starts a new episode in the named environments and returns their frames [M, *frame].

        About 100 ms an emulator: ALE loads the game anew to seed it.
        """
        check_reset(indices, seeds, self.num_envs)
        if len(indices) == 0:
            return self._frames[indices]
        if self._fresh and len(indices) < self.num_envs:
            self._ale.reset(seed=np.zeros(self.num_envs, np.int64))
        self._fresh = False
        all_seeds = np.zeros(self.num_envs, np.int64)
        all_seeds[indices] = np.asarray(seeds) % _SEED_LIMIT
        without_noops = np.zeros(self.num_envs, bool)
        without_noops[indices] = True
        obs: np.ndarray = self._frames
        while without_noops.any():
            obs, info = self._ale.reset(
                seed=all_seeds[without_noops], options={"reset_mask": without_noops}
            )
            without_noops &= info["episode_frame_number"] == 0
            all_seeds[without_noops] = _another_seed(all_seeds[without_noops])
        self._frames = self._as_frames(obs)
        self._lives[indices] = info["lives"][indices]
        self._steps[indices] = 0
        self._needs_reset[indices] = False
        return self._frames[indices]

    def step(self, actions: np.ndarray) -> VectorStep:
        """Takes one action [E] i64 in every environment."""
        check_playable(self._needs_reset)
        listed = checked_actions(actions, self.num_envs, int(self.action_space.n))
        obs, score, game_over, _, info = self._ale.step(np.array(listed, np.int64))
        self._frames = self._as_frames(obs)
        self._steps += 1
        cut = self._steps >= self._max_steps
        lives = info["lives"]
        terminated = game_over.astype(bool)
        if self._training:  # Qbert shows 0 lives for some frames before it is over
            terminated |= (lives < self._lives) & (lives > 0)
        self._lives = lives.copy()
        self._needs_reset = game_over.astype(bool) | cut
        return VectorStep(
            frames=self._frames,
            reward=np.sign(score).astype(np.float32),
            score=score.astype(np.float64),
            terminated=terminated,
            truncated=cut & ~terminated,
            needs_reset=self._needs_reset.copy(),
        )

    def render(self, index: int) -> np.ndarray:
        """The last frame of one environment as [H, W, 3] uint8."""
        return np.broadcast_to(self._frames[index], (*self.frame_space.shape[:2], 3)).copy()

    def close(self) -> None:
        """Stops the emulators and their threads."""
        self._ale.close()
        vars(self._ale).pop("ale", None)  # the threads live as long as this

    def _as_frames(self, obs: np.ndarray) -> np.ndarray:
        """[E, 1, H, W] or [E, 1, H, W, 3] as [E, H, W, C]."""
        return obs.reshape(self.num_envs, *self.frame_space.shape)


def rom_name(game: str) -> str:
    """The ROM of `pong`, `Pong`, `ms_pacman`, `MsPacman` or `ALE/MsPacman-v5`."""
    bare = re.sub(r"-v\d+$", "", game.removeprefix("ALE/")) if game.startswith("ALE/") else game
    known = _roms()
    if _letters(bare) in known:
        return known[_letters(bare)]
    near = difflib.get_close_matches(_letters(bare), known, n=1, cutoff=0.0)
    raise EnvironmentSpecError(
        f"game must be one of ALE's ({len(known)}), got {game!r}; nearest: {known[near[0]]!r}"
    )


def is_game(name: str) -> bool:
    """Whether `name` is the bare name of a game, such as `pong` or `MsPacman`."""
    return _letters(name) in _roms()


@functools.cache
def _roms() -> dict[str, str]:
    return {_letters(rom): rom for rom in roms.get_all_rom_ids()}


def _letters(name: str) -> str:
    return re.sub(r"[_ ]", "", name).lower()


def _another_seed(seeds: np.ndarray) -> np.ndarray:
    return (seeds * 1103515245 + 12345) % _SEED_LIMIT


def _check_sticky_actions(probability: float, *, training: bool) -> None:
    if not 0.0 <= probability < 1.0:
        raise SettingError(f"sticky_actions must be in [0, 1), got {probability!r}")
    if training and probability:
        raise SettingError(
            f"sticky_actions must be 0 in training (the Atari-100k rules), got {probability!r}; "
            "ez evaluate --sticky-actions plays with them"
        )


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SettingError(f"{name} must be >= {least}, got {value!r}")

"""From a name, an id or a factory to a vector environment.

"pong", "MsPacman"               Atari, by the rules of Atari-100k
"ALE/Pong-v5", "Pong-v4", ...    the same: those ids' own sticky actions and frame skips are
                                 never used
"CartPole-v1", "module:Id-v0"    any other id of gymnasium
a callable                       called with `env_config`; returns a new gymnasium.Env
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rllib_ez.envs.atari import Atari100kVectorEnv, is_game, rom_name
from rllib_ez.envs.gym import GymVectorEnv
from rllib_ez.envs.vector import VectorEnv
from rllib_ez.errors import EnvironmentSpecError, SettingError

EnvLike = str | Callable[..., "gymnasium.Env[Any, Any]"]

gymnasium.register_envs(ale_py)

_ATARI_SETTINGS = ("max_episode_frames", "num_threads", "sticky_actions")


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What an algorithm must know of an environment before it is made."""

    name: str
    frame_space: Box  # one frame: [H, W, C] uint8 or [D] f32
    num_actions: int
    is_atari: bool
    default_frame_stack: int  # 4 for Atari, else 1
    default_discount: float  # per env step, after frame skip

    @property
    def frame_dtype(self) -> np.dtype:
        """Of one frame: uint8 or f32."""
        return frame_dtype(self.frame_space)

    def observation_space(self, frame_stack: int) -> Box:
        """Of a stack of frames, [L, *frame]."""
        low = np.repeat(self.frame_space.low[None], frame_stack, 0)
        high = np.repeat(self.frame_space.high[None], frame_stack, 0)
        return Box(low, high, dtype=self.frame_dtype.type)


def frame_dtype(space: Box) -> np.dtype:
    """The dtype of a Box; gymnasium's own annotation admits None."""
    return np.dtype(str(space.dtype))


def make_env(
    env: EnvLike,
    num_envs: int,
    *,
    training: bool,
    frame_size: int = 96,
    gray: bool = False,
    env_config: Mapping[str, Any] | None = None,
    render: bool = False,
) -> VectorEnv:
    """Makes `num_envs` environments of one kind.

    Args:
        env: a game's name, an id of gymnasium, or a factory (see the top of this file).
        num_envs: E, >= 1.
        training: Atari: a lost life ends the trajectory.
        frame_size: Atari: pixels a side.
        gray: Atari: one channel in place of three.
        env_config: keyword arguments of the environment; of Atari, `max_episode_frames`,
            `num_threads` and, unless it is for training, `sticky_actions`.
        render: makes environments that can draw themselves (Atari and factories: as they are).

    Raises:
        EnvironmentSpecError: `env` is unknown or cannot be made, or its spaces are unsupported.
        SettingError: `frame_size` or `gray` is set for an environment that is not Atari.
    """
    settings = dict(env_config or {})
    game = atari_game(env)
    if game is not None:
        _check_atari_settings(settings)
        return Atari100kVectorEnv(
            game, num_envs, training=training, frame_size=frame_size, gray=gray, **settings
        )
    if gray or frame_size != 96:
        raise SettingError(
            f"frame_size and gray must be left alone unless the environment is Atari, got "
            f"frame_size={frame_size}, gray={gray} for {_name(env)}; wrap the environment instead"
        )
    if render and isinstance(env, str):
        settings["render_mode"] = "rgb_array"
    return _gym_vector_env(env, num_envs, settings)


_DESCRIBED: dict[tuple[Any, ...], EnvSpec] = {}  # Atari's: making one takes a tenth of a second


def describe(
    env: EnvLike,
    *,
    frame_size: int = 96,
    gray: bool = False,
    env_config: Mapping[str, Any] | None = None,
) -> EnvSpec:
    """Makes one environment, reads its spaces and closes it. Raises as `make_env` does.

    An Atari game is made once for the same arguments: nothing can put another in its place.
    """
    key = (env, frame_size, gray, repr(sorted((env_config or {}).items())))
    if atari_game(env) is not None and key in _DESCRIBED:
        return _DESCRIBED[key]
    made = make_env(env, 1, training=True, frame_size=frame_size, gray=gray, env_config=env_config)
    made.close()
    is_atari = isinstance(made, Atari100kVectorEnv)
    spec = EnvSpec(
        name=_name(env),
        frame_space=made.frame_space,
        num_actions=int(made.action_space.n),
        is_atari=is_atari,
        default_frame_stack=4 if is_atari else 1,
        default_discount=0.997**4 if is_atari else 0.997,
    )
    if is_atari:
        _DESCRIBED[key] = spec
    return spec


def atari_game(env: EnvLike) -> str | None:
    """The ROM that `env` names, or None where it names no Atari game. Makes no environment."""
    if not isinstance(env, str):
        return None
    if is_game(env) or env.startswith("ALE/"):
        return rom_name(env)
    spec = gymnasium.registry.get(env)
    if spec is None or not str(spec.entry_point).startswith("ale_py"):
        return None
    return str(spec.kwargs["game"])


def _check_atari_settings(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name not in _ATARI_SETTINGS:
            raise EnvironmentSpecError(
                f"env_config of an Atari game must only hold {', '.join(_ATARI_SETTINGS)}, got "
                f"{name!r}; the Atari-100k rules fix the rest (pass a factory for other rules)"
            )


def _gym_vector_env(env: EnvLike, num_envs: int, settings: dict[str, Any]) -> GymVectorEnv:
    made: list[gymnasium.Env[Any, Any]] = []
    try:
        for _ in range(num_envs):
            made.append(_from_id(env, settings) if isinstance(env, str) else env(**settings))
        return GymVectorEnv(made)
    except BaseException:
        for one in made:
            if isinstance(one, gymnasium.Env):
                one.close()
        raise


def _from_id(env_id: str, settings: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    module, _, bare_id = env_id.rpartition(":")
    if module:
        _import(module, env_id)
    if bare_id not in gymnasium.registry:
        raise EnvironmentSpecError(_unknown(bare_id))
    try:
        # The checker costs more than a CartPole's step; frames.py checks what we rely on.
        return gymnasium.make(bare_id, disable_env_checker=True, **settings)
    except Exception as error:
        raise EnvironmentSpecError(
            f"{env_id} could not be made with env_config {dict(settings)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise EnvironmentSpecError(f"{env_id}: cannot import {module!r}: {error}") from error


def _unknown(env_id: str) -> str:
    lowered = {known.lower(): known for known in gymnasium.registry}
    near = difflib.get_close_matches(env_id.lower(), lowered, n=1, cutoff=0.0)
    return (
        f"env must be an Atari game or an id registered with gymnasium, got {env_id!r}; nearest: "
        f"{lowered[near[0]]!r}. If another package registers it, write 'package:{env_id}'"
    )


def _name(env: EnvLike) -> str:
    if isinstance(env, str):
        return env
    return str(getattr(env, "__qualname__", None) or repr(env))

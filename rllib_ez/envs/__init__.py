"""Environments: vector environments from a name, Atari by the 100k rules, toy worlds."""

from rllib_ez.envs.atari import ATARI_100K_GAMES, Atari100kVectorEnv
from rllib_ez.envs.gym import GymVectorEnv
from rllib_ez.envs.play import MAX_EVALUATION_ENVS, EpisodeResult, play_episodes
from rllib_ez.envs.registry import EnvSpec, atari_game, describe, make_env
from rllib_ez.envs.toy import (
    DelayedCatch,
    DelayedChain,
    GridGoal,
    ToyWorld,
    register_toy_worlds,
)
from rllib_ez.envs.vector import VectorEnv, VectorStep

__all__ = [
    "ATARI_100K_GAMES",
    "MAX_EVALUATION_ENVS",
    "Atari100kVectorEnv",
    "DelayedCatch",
    "DelayedChain",
    "EnvSpec",
    "EpisodeResult",
    "GridGoal",
    "GymVectorEnv",
    "ToyWorld",
    "VectorEnv",
    "VectorStep",
    "atari_game",
    "describe",
    "make_env",
    "play_episodes",
]

register_toy_worlds()

"""How a score is measured: one record of it, one sentence for people, the same for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rllib_ez.envs import atari_game
from rllib_ez.envs.atari import MAX_EPISODE_FRAMES, MAX_NOOPS

ATARI_EPISODES, OTHER_EPISODES = 32, 20  # of `ez evaluate`
Weights = Literal["final", "checkpoint"]
_WEIGHTS: dict[Weights, str] = {
    "final": "the final weights",
    "checkpoint": "the weights of a checkpoint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AtariRules:
    """What holds for Atari beside whole games and raw scores."""

    max_noops: int = MAX_NOOPS  # at the start, drawn from 1 to this
    max_episode_frames: int = MAX_EPISODE_FRAMES  # of the emulator; four an agent's step
    sticky_actions: float = 0.0  # probability in [0, 1) that a frame repeats the last action

    @property
    def words(self) -> list[str]:
        """For the sentence."""
        sticky = f"sticky actions ({self.sticky_actions:g})"
        return [
            sticky if self.sticky_actions else "no sticky actions",
            f"1-{self.max_noops} no-ops at the start",
            f"at most {self.max_episode_frames:,} frames a game",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a score is measured. Exploration noise there is none, and no action is drawn."""

    weights: Weights  # final: those that training ended with
    episodes: int | None  # whole ones; None: not on record
    num_simulations: int | None  # of the search that chooses an action; the same
    seed: int | None  # that the episodes' seeds come from; None: each run's own
    atari: AtariRules | None  # None: another environment

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        one = "episode" if self.atari is None else "game"
        whole = f"whole {one}"
        count = f"{whole}s" if self.episodes is None else counted(self.episodes, whole)
        search = "a search"
        if self.num_simulations is not None:
            search += f" of {counted(self.num_simulations, 'simulation')}"
        seed = "each run's own seed" if self.seed is None else f"seed {self.seed}"
        details = [
            f"the greedy action of {search}",
            "no noise",
            *([] if self.atari is None else self.atari.words),
            f"episodes drawn from {seed}",
        ]
        lives = "" if self.atari is None else " (a lost life ends none, nothing is clipped)"
        return (
            f"A score is the mean raw return of {count} played by {_WEIGHTS[self.weights]}{lives}: "
            f"{', '.join(details)}."
        )

    def as_json(self) -> dict[str, Any]:
        """Every field, what is fixed, and the sentence."""
        fixed = {"noise": "none", "action": "greedy", "whole_episodes": True, "score": "raw"}
        return asdict(self) | fixed | {"sentence": self.sentence}


def protocol_of(
    env: str,
    env_config: Mapping[str, Any],
    *,
    weights: Weights,
    episodes: int | None,
    num_simulations: int | None,
    seed: int | None,
) -> Protocol:
    """The protocol of an environment's evaluation. No environment is made for it.

    Args:
        env: what `make_env` takes.
        env_config: the same; its limits and sticky actions are part of Atari's rules.
        weights, episodes, num_simulations, seed: see `Protocol`.
    """
    rules = None
    if atari_game(env) is not None:
        told = {
            k: env_config[k] for k in ("max_episode_frames", "sticky_actions") if k in env_config
        }
        rules = AtariRules(**told)
    return Protocol(
        weights=weights,
        episodes=episodes,
        num_simulations=num_simulations,
        seed=seed,
        atari=rules,
    )


def protocol_of_plan(
    env: str, env_config: Mapping[str, Any], settings: Mapping[str, Any], *, seed: int | None
) -> Protocol:
    """How a finished run is scored, from its plan; what an old plan lacks is not on record."""
    simulations = settings.get("num_evaluation_simulations") or settings.get("num_simulations")
    return protocol_of(
        env,
        env_config,
        weights="final",
        episodes=settings.get("evaluation_duration"),
        num_simulations=simulations,
        seed=seed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BestCheckpoint:
    """The highest of a run's evaluations: chosen by its own luck, so biased upwards."""

    return_mean: float
    at: int  # the run's progress then
    num_evaluations: int  # that it is the highest of

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"highest of {counted(self.num_evaluations, 'evaluation')}"


def best_checkpoint(evaluations: Mapping[int, float]) -> BestCheckpoint | None:
    """The first of the highest; None of none.

    Args:
        evaluations: mean return by the run's progress.
    """
    if not evaluations:
        return None
    at = max(sorted(evaluations), key=evaluations.__getitem__)
    return BestCheckpoint(return_mean=evaluations[at], at=at, num_evaluations=len(evaluations))


def counted(count: int, noun: str) -> str:
    """ "1 game", "32 games"."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def default_episodes(env: str) -> int:
    """How many `ez evaluate` plays unless told."""
    return OTHER_EPISODES if atari_game(env) is None else ATARI_EPISODES

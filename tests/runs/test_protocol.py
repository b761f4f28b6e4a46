from __future__ import annotations

from typing import Any

import pytest

from rllib_ez.algorithm.config import known_settings
from rllib_ez.runs.protocol import (
    AtariRules,
    Protocol,
    best_checkpoint,
    default_episodes,
    protocol_of,
    protocol_of_plan,
)

TOLD: dict[str, Any] = {"weights": "final", "episodes": 32, "num_simulations": 50, "seed": 0}


def test_a_game_is_told_with_all_its_rules():
    assert protocol_of("pong", {}, **TOLD).sentence == (
        "A score is the mean raw return of 32 whole games played by the final weights (a lost "
        "life ends none, nothing is clipped): the greedy action of a search of 50 simulations, "
        "no noise, no sticky actions, 1-30 no-ops at the start, at most 108,000 frames a game, "
        "episodes drawn from seed 0."
    )


def test_limits_and_sticky_actions_are_those_of_the_environment():
    config = {"max_episode_frames": 400, "sticky_actions": 0.25, "num_threads": 1}
    protocol = protocol_of("ALE/Pong-v5", config, **TOLD)
    assert protocol.atari == AtariRules(max_episode_frames=400, sticky_actions=0.25)
    assert "sticky actions (0.25), 1-30 no-ops at the start, at most 400 frames a game" in (
        protocol.sentence
    )


def test_another_environment_has_no_rules_of_atari():
    told = TOLD | {"weights": "checkpoint", "episodes": 1, "num_simulations": 1}
    assert protocol_of("CartPole-v1", {}, **told).sentence == (
        "A score is the mean raw return of 1 whole episode played by the weights of a checkpoint: "
        "the greedy action of a search of 1 simulation, no noise, episodes drawn from seed 0."
    )


def test_what_is_not_on_record_is_left_out():
    protocol = protocol_of_plan("CartPole-v1", {}, {}, seed=None)
    assert protocol.sentence == (
        "A score is the mean raw return of whole episodes played by the final weights: the greedy "
        "action of a search, no noise, episodes drawn from each run's own seed."
    )


def test_a_plan_is_scored_by_its_own_evaluation():
    settings = {"evaluation_duration": 7, "num_simulations": 9, "num_evaluation_simulations": 5}
    protocol = protocol_of_plan("CartPole-v1", {}, known_settings() | settings, seed=3)
    assert (protocol.episodes, protocol.num_simulations, protocol.seed) == (7, 5, 3)
    without = known_settings() | settings | {"num_evaluation_simulations": None}
    assert protocol_of_plan("CartPole-v1", {}, without, seed=3).num_simulations == 9


def test_programs_are_told_what_people_are():
    told = protocol_of("pong", {}, **TOLD).as_json()
    assert told["sentence"] == Protocol(**TOLD, atari=AtariRules()).sentence
    assert (told["noise"], told["action"], told["score"]) == ("none", "greedy", "raw")
    assert told["atari"]["max_noops"] == 30


@pytest.mark.parametrize(("env", "episodes"), [("MsPacman", 32), ("CartPole-v1", 20)])
def test_a_game_is_evaluated_with_32_episodes(env: str, episodes: int):
    assert default_episodes(env) == episodes


def test_the_best_checkpoint_is_the_first_of_the_highest():
    best = best_checkpoint({300: 2.0, 100: 1.0, 200: 2.0})
    assert (best.return_mean, best.at, best.words) == (2.0, 200, "highest of 3 evaluations")


def test_without_an_evaluation_there_is_no_best_checkpoint():
    assert best_checkpoint({}) is None

from __future__ import annotations

import json
from typing import Any

import pytest

from rllib_ez.errors import SettingError
from tests.tuning.plans import plan_of
from tuning.specs import TrialSpec


def spec_of(**settings: Any) -> TrialSpec:
    return TrialSpec(game="CartPole-v1", seed=3, settings=settings)


def test_a_trial_without_a_search_is_named_after_game_and_seed():
    assert (spec_of().name, spec_of().sample) == ("CartPole-v1-seed-3", "")


def test_a_sample_is_eight_digits_at_the_end_of_the_name():
    spec = spec_of(learning_rate=0.01)
    assert len(spec.sample) == 8
    assert int(spec.sample, 16) >= 0
    assert spec.name == f"CartPole-v1-seed-3-{spec.sample}"


def test_a_sample_is_named_the_same_in_every_version_and_process():
    assert spec_of(learning_rate=0.01, td_steps=5).sample == "e81c0c3d"


def test_the_order_of_settings_does_not_matter():
    assert spec_of(td_steps=5, discount=0.9).sample == spec_of(discount=0.9, td_steps=5).sample


def test_another_value_is_another_sample():
    assert spec_of(td_steps=5).sample != spec_of(td_steps=6).sample


def test_a_sample_keeps_its_name_when_json_makes_lists_of_tuples():
    spec = spec_of(observation_scale=(0.5, 1.0))
    again = json.loads(json.dumps(spec.as_config()))
    assert TrialSpec(**again).name == spec.name


def test_games_and_seeds_share_a_sample():
    other = TrialSpec(game="Acrobot-v1", seed=0, settings={"td_steps": 5})
    assert other.sample == spec_of(td_steps=5).sample


@pytest.mark.parametrize("game", ["my_package:Maze-v0", "ALE/Pong-v5", "../up", "a b"])
def test_a_name_is_one_folder(game: str):
    name = TrialSpec(game=game, seed=0).name
    assert not set("/: ") & set(name)
    assert name.endswith("-seed-0")


def test_a_config_is_plain_and_a_copy():
    spec = spec_of(td_steps=5)
    config = spec.as_config()
    config["settings"]["td_steps"] = 6
    assert spec.as_config() == {"game": "CartPole-v1", "seed": 3, "settings": {"td_steps": 5}}


def test_the_plan_has_the_trials_seed_and_settings_on_top():
    plan = spec_of(td_steps=9).plan({"CartPole-v1": plan_of(), "Acrobot-v1": plan_of("Acrobot-v1")})
    assert (plan.settings["seed"], plan.settings["td_steps"]) == (3, 9)
    assert plan.settings["batch_size"] == plan_of().settings["batch_size"]
    assert plan_of().settings["seed"] == 0


def test_settings_that_json_changed_get_their_types_back():
    spec = TrialSpec(game="CartPole-v1", seed=0, settings={"observation_scale": [1, 1, 1, 1]})
    plan = spec.plan({"CartPole-v1": plan_of()})
    assert plan.settings["observation_scale"] == (1.0, 1.0, 1.0, 1.0)


def test_a_setting_that_training_does_not_take_is_refused():
    with pytest.raises(SettingError, match="td_steps must be"):
        spec_of(td_steps=0).plan({"CartPole-v1": plan_of()})

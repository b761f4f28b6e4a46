from __future__ import annotations

import pytest

from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.presets import list_presets, load_preset, preset_for_env, preset_names
from rllib_ez.errors import SettingError


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_reads_and_describes_itself(name: str):
    assert len(load_preset(name).description) > 20


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_changes_something(name: str):
    defaults = known_settings()
    changed = [k for k, v in load_preset(name).settings.items() if v != defaults[k]]
    assert changed


def test_recipes_are_listed_before_overlays():
    overlays = [preset.is_overlay for preset in list_presets()]
    assert overlays == sorted(overlays)


def test_the_nearest_preset_is_named():
    with pytest.raises(SettingError, match="got 'cartpool'; nearest: 'cartpole'"):
        load_preset("cartpool")


def test_an_environment_finds_its_recipe():
    preset = preset_for_env("CartPole-v1")
    assert preset is not None
    assert preset.name == "cartpole"


def test_an_environment_without_a_recipe_has_none():
    assert preset_for_env("MountainCar-v0") is None


def test_the_papers_discount_is_per_env_step_of_four_frames():
    assert load_preset("atari100k").settings["discount"] == pytest.approx(0.997**4, abs=1e-12)


def test_muzero_is_all_three_ablations_at_once():
    parts = ("no_consistency", "no_value_prefix", "no_off_policy_correction")
    together = {k: v for part in parts for k, v in load_preset(part).settings.items()}
    assert load_preset("muzero").settings == together

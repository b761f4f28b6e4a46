from __future__ import annotations

from typing import Any

import pytest

from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.setting_types import checked_setting, checked_settings, setting_kinds
from rllib_ez.errors import SettingError


@pytest.mark.parametrize("name", sorted(known_settings()))
def test_the_default_of_a_setting_fits_its_type(name: str):
    default = known_settings()[name]
    assert checked_setting(name, default) == default


def test_every_setting_has_a_type():
    assert known_settings().keys() <= setting_kinds().keys()


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", 1, 1.0),
        ("num_simulations", 8.0, 8),
        ("observation_scale", [1, 2.5], (1.0, 2.5)),
        ("num_evaluation_simulations", None, None),
        ("network", "pixel", "pixel"),
        ("grayscale", True, True),
    ],
)
def test_a_value_comes_out_in_its_type(name: str, value: Any, typed: Any):
    out = checked_setting(name, value)
    assert (out, type(out)) == (typed, type(typed))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("num_simulations", "many", "a whole number, got 'many'"),
        ("num_simulations", 2.5, "a whole number, got 2.5"),
        ("num_simulations", True, "a whole number, got True"),
        ("num_simulations", None, "a whole number, got None"),
        ("learning_rate", "nan", "a number, got 'nan'"),
        ("grayscale", 1, "true or false, got 1"),
        ("network", 3, "a word or null, got 3"),
        ("observation_scale", [1, "x"], "a list of numbers or null"),
        ("num_env_runners", -1, ">= 0, got -1"),
        ("rollout_fragment_length", 0, ">= 1, got 0"),
        ("seed", -5, ">= 0, got -5"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_value(name: str, value: Any, rule: str):
    with pytest.raises(SettingError, match=f"{name} must be {rule}"):
        checked_setting(name, value)


def test_ranges_of_our_own_settings_are_checked_too():
    with pytest.raises(SettingError, match="td_steps must be >= 1, got -3"):
        checked_settings({"td_steps": -3})


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(SettingError, match="got 'num_simulation'; did you mean num_simulations"):
        checked_settings({"num_simulation": 3})

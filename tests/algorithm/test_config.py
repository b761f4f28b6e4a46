"""One field, two places: names, defaults and borders agree."""

from dataclasses import fields

import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_ez.algorithm.config import (
    INFERRED,
    INFERRED_UNLESS_SET,
    STAGES,
    EfficientZeroConfig,
    check_setting_names,
    flat_defaults,
)
from rllib_ez.core.config import SearchConfig, TargetsConfig
from rllib_ez.errors import SettingError


def test_every_stage_field_stands_flat_with_its_default():
    config = EfficientZeroConfig()
    for stage in STAGES:
        for field in fields(stage):
            if field.name not in INFERRED | INFERRED_UNLESS_SET:
                assert getattr(config, field.name) == field.default, field.name


def test_a_name_in_two_stages_has_one_default():
    for name in ("discount", "lstm_horizon"):
        defaults = {
            f.default
            for stage in (SearchConfig, TargetsConfig)
            for f in fields(stage)
            if f.name == name
        }
        assert len(defaults) == 1, name


def test_no_setting_of_ours_hides_one_of_rllibs():
    assert not set(flat_defaults()) & set(vars(AlgorithmConfig()))


def test_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(SettingError, match="'num_simulation'; did you mean num_simulations"):
        EfficientZeroConfig().training(num_simulation=3)


def test_a_value_out_of_range_is_refused_when_building():
    config = EfficientZeroConfig().environment("CartPole-v1").training(num_simulations=0)
    with pytest.raises(SettingError, match="num_simulations must be >= 1, got 0"):
        config.validate()


def test_a_missing_seed_is_refused():
    config = EfficientZeroConfig().environment("CartPole-v1").debugging(seed=None)
    config.seed = None
    with pytest.raises(SettingError, match="seed must be a number"):
        config.validate()


def test_evaluation_searches_as_in_training_unless_told():
    config = EfficientZeroConfig().training(num_simulations=9)
    assert config.search_config(evaluation=True).num_simulations == 9
    config.training(num_evaluation_simulations=3)
    assert config.search_config(evaluation=True).num_simulations == 3
    assert config.search_config().num_simulations == 9


def test_shapes_are_read_off_the_environment():
    config = EfficientZeroConfig().environment("CartPole-v1")
    model = config.model_config_for(config.env_spec())
    assert (model.network, model.frame_shape, model.frame_stack) == ("vector", (4,), 1)
    assert model.num_actions == 2


def test_pixels_get_the_convolutional_network():
    config = EfficientZeroConfig().environment("rllib_ez/DelayedCatch-v0")
    assert config.model_config_for(config.env_spec()).network == "pixel"


def test_known_names_pass_the_check():
    check_setting_names(["num_simulations", "seed", "num_env_runners"])


def test_a_setting_of_rllibs_that_means_nothing_here_is_refused_with_ours():
    with pytest.raises(SettingError, match="gamma must be left as it is, got 0.5; set discount"):
        EfficientZeroConfig().training(gamma=0.5)


def test_a_config_survives_the_way_through_a_dict():
    config = EfficientZeroConfig().environment("CartPole-v1").training(num_simulations=7)
    copied = EfficientZeroConfig.from_dict(config.to_dict())
    assert copied.num_simulations == 7
    assert copied.learning_rate == config.learning_rate

"""Each idea can be turned off, or exchanged, by one setting, and the rest trains from pixels."""

import math

import pytest

from rllib_ez.algorithm.presets import load_preset

pytestmark = pytest.mark.ray

CHANGES = {
    "muzero": {"lstm_horizon": 1, "consistency_weight": 0, "off_policy_correction": False},
    "no_consistency": {"consistency_weight": 0},
    "no_value_prefix": {"lstm_horizon": 1},
    "no_off_policy_correction": {"off_policy_correction": False},
    "no_reanalyse": {"reanalyse_fraction": 0.0},
    "infonce": {"consistency_loss": "infonce"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_overlay_changes_what_it_says_and_nothing_else(name):
    assert load_preset(name).settings == CHANGES[name]


@pytest.mark.parametrize("name", CHANGES)
def test_every_overlay_trains_from_pixels(ray_session, name):
    from rllib_ez.algorithm.config import EfficientZeroConfig

    recipe = load_preset("toy_pixels")
    small = {
        "latent_channels": 4,
        "num_simulations": 3,
        "batch_size": 8,
        "num_random_steps": 100,
        "replay_ratio": 0.1,
        "reanalyse_batch_size": 64,
    }
    config = EfficientZeroConfig().environment(recipe.env).debugging(log_level="ERROR")
    config.training(**{**recipe.settings, **small, **load_preset(name).settings})
    algorithm = config.build_algo()
    for _ in range(2):
        result = algorithm.train()
    learner = result["learners"]["default_policy"]
    algorithm.stop()
    assert math.isfinite(learner["total_loss"])
    if "consistency_weight" in CHANGES[name]:
        assert learner["consistency_loss"] == 0

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from rllib_ez.core.config import (
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
    SearchConfig,
    TargetsConfig,
)
from rllib_ez.errors import SettingError

STAGES = [ModelConfig, SearchConfig, ReplayConfig, TargetsConfig, LossConfig, OptimizerConfig]

OUT_OF_RANGE = [
    (ModelConfig, "network", "transformer"),
    (ModelConfig, "frame_stack", 0),
    (ModelConfig, "num_actions", 0),
    (ModelConfig, "hidden_size", 0),
    (ModelConfig, "latent_channels", 1),
    (ModelConfig, "num_blocks", 0),
    (ModelConfig, "downsampling", 4),
    (ModelConfig, "action_encoding", "binary"),
    (ModelConfig, "lstm_size", -1),
    (ModelConfig, "value_range", 0.0),
    (ModelConfig, "value_bins", 200),
    (ModelConfig, "value_bins", 1),
    (ModelConfig, "value_prefix_range", -1.0),
    (ModelConfig, "value_prefix_bins", 2),
    (ModelConfig, "observation_scale", (1.0,)),
    (SearchConfig, "num_simulations", 0),
    (SearchConfig, "discount", 0.0),
    (SearchConfig, "discount", 1.1),
    (SearchConfig, "pb_c_init", -0.1),
    (SearchConfig, "pb_c_base", 0.0),
    (SearchConfig, "min_max_delta", 0.0),
    (SearchConfig, "root_dirichlet_alpha", 0.0),
    (SearchConfig, "root_noise_fraction", 1.5),
    (SearchConfig, "lstm_horizon", 0),
    (ReplayConfig, "replay_bytes", 0),
    (ReplayConfig, "replay_capacity", 0),
    (ReplayConfig, "priority_exponent", -1.0),
    (ReplayConfig, "is_exponent_initial", 1.1),
    (ReplayConfig, "is_exponent_final", -0.1),
    (ReplayConfig, "is_exponent_updates", 0),
    (TargetsConfig, "unroll_steps", 0),
    (TargetsConfig, "td_steps", 0),
    (TargetsConfig, "discount", float("nan")),
    (TargetsConfig, "lstm_horizon", 0),
    (TargetsConfig, "horizon_decay_updates", 0),
    (TargetsConfig, "reanalyse_fraction", -0.1),
    (TargetsConfig, "bootstrap", "guess"),
    (LossConfig, "policy_weight", -1.0),
    (LossConfig, "consistency_weight", float("nan")),
    (LossConfig, "dynamics_gradient_scale", -0.5),
    (LossConfig, "shift_pixels", -1),
    (OptimizerConfig, "optimizer_name", "lion"),
    (OptimizerConfig, "learning_rate", 0.0),
    (OptimizerConfig, "warmup_updates", -1),
    (OptimizerConfig, "weight_decay", -1e-4),
    (OptimizerConfig, "max_grad_norm", 0.0),
]


@pytest.mark.parametrize("stage", STAGES)
def test_defaults_are_within_their_ranges(stage: type):
    stage()


@pytest.mark.parametrize(("stage", "name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_name(stage: type, name: str, value: object):
    with pytest.raises(SettingError, match=rf"^{name} must be .*, got "):
        stage(**{name: value})


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_setting_is_refused(stage: type):
    with pytest.raises(TypeError, match="num_unroll_steps"):
        stage(num_unroll_steps=5)


def test_a_config_cannot_be_changed_after_it_was_checked():
    with pytest.raises(FrozenInstanceError):
        SearchConfig().num_simulations = 0


def test_an_observation_scale_that_fits_the_frame_is_taken():
    assert ModelConfig(frame_shape=(2,), observation_scale=(1.0, 0.5)).observation_scale

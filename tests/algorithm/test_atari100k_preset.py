"""The paper's recipe, number by number; sections are those of reference/EFFICIENTZERO.md."""

from __future__ import annotations

import re

import pytest

from rllib_ez.algorithm.presets import FOLDER, load_preset

PAPER = {
    # 1.1 environment and observation
    "frame_size": 96, "grayscale": False, "frame_stack": 4, "discount": pytest.approx(0.997**4),
    # 1.3 to 1.8 network
    "network": "pixel", "latent_channels": 64, "num_blocks": 1, "downsampling": 16,
    "head_channels": 16, "head_hidden_size": 32, "lstm_size": 512, "lstm_horizon": 5,
    "value_range": 300, "value_bins": 601, "value_prefix_range": 300, "value_prefix_bins": 601,
    "projection_size": 1024, "prediction_hidden_size": 512,
    # 2 search and acting
    "search_method": "puct", "num_simulations": 50, "pb_c_init": 1.25, "pb_c_base": 19652,
    "min_max_delta": 0.01, "root_dirichlet_alpha": 0.3, "root_noise_fraction": 0.25,
    "temperature_updates": 100_000,
    # 3 training
    "batch_size": 256, "unroll_steps": 5, "td_steps": 5, "value_prefix_weight": 1,
    "policy_weight": 1, "value_weight": 0.25, "consistency_weight": 2, "optimizer_name": "sgd",
    "learning_rate": 0.2, "warmup_updates": 1000, "decay_at_update": 100_000,
    "weight_decay": 1e-4, "max_grad_norm": 5, "replay_ratio": 1, "num_random_steps": 2000,
    "num_final_updates": 20_000,
    "random_action_fraction": 0, "target_update_every_updates": 200, "priority_exponent": 0.6,
    "is_exponent_initial": 0.4, "is_exponent_final": 1, "is_exponent_updates": 120_000,
    "num_envs_per_env_runner": 4, "augmentation": True, "shift_pixels": 4,
    "intensity_scale": 0.05, "consistency_loss": "simsiam", "evaluation_duration": 32,
    # 4 off-policy correction: tau 0.3 of 100,000 updates
    "off_policy_correction": True, "horizon_decay_updates": 30_000, "bootstrap": "search",
}  # fmt: skip
OURS = {  # docs/deviations.md
    "dynamics_gradient_scale": 0.5, "reanalyse_fraction": 1, "reanalyse_root_noise": False,
    "batches_ahead": 1, "replay_capacity": 120_000, "rollout_fragment_length": 25,
}  # fmt: skip
GUMBEL = {  # 6.1
    "search_method": "gumbel", "num_simulations": 16, "max_considered_actions": 8,
    "gumbel_c_visit": 50, "gumbel_c_scale": 0.1,
}  # fmt: skip


def test_every_number_is_that_of_the_reference_or_ours_by_name():
    assert load_preset("atari100k").settings == PAPER | OURS


def test_gumbel_changes_the_search_and_nothing_else():
    assert load_preset("atari100k_gumbel").settings == PAPER | OURS | GUMBEL


@pytest.mark.parametrize("name", ["atari100k", "atari100k_gumbel"])
def test_a_run_is_400_000_frames_long(name: str):
    preset = load_preset(name)
    assert (preset.env, preset.env_steps, preset.evaluate_every) == (None, 100_000, 10_000)


def test_a_round_earns_as_many_updates_as_lie_between_new_weights_in_the_paper():
    settings = load_preset("atari100k").settings
    steps = settings["num_envs_per_env_runner"] * settings["rollout_fragment_length"]
    assert steps * settings["replay_ratio"] == 100


def test_replay_holds_all_steps_and_the_ends_of_many_lives():
    preset = load_preset("atari100k")
    assert preset.settings["replay_capacity"] >= preset.env_steps + 10_000


@pytest.mark.parametrize("name", ["atari100k", "atari100k_gumbel"])
def test_every_value_names_its_source(name: str):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    values = [line for line in lines if re.match(r"(?!description|base)\w+:", line)]
    assert len(values) >= 5
    assert [line for line in values if not re.search(r"  # (\[(P|C1|C2)\]|ours: )", line)] == []

"""Ray Tune finds the algorithm by its name and searches over flat settings."""

import pytest

pytestmark = pytest.mark.ray


def test_tuner_trains_by_name_over_a_grid(small_config, tmp_path):
    from ray import tune

    import rllib_ez  # noqa: F401  (registers "EfficientZero")

    config = small_config.copy(copy_frozen=False)
    config.training(num_simulations=tune.grid_search([2, 3]))
    tuner = tune.Tuner(
        "EfficientZero",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 3}, storage_path=str(tmp_path), verbose=0
        ),
    )
    results = tuner.fit()
    assert [result.error for result in results] == [None, None]
    found = sorted(result.config["num_simulations"] for result in results)
    assert found == [2, 3]
    assert all(result.metrics["num_env_steps_sampled_lifetime"] == 120 for result in results)

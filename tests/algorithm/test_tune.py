"""Ray Tune finds the algorithm by its name and searches over flat settings."""

from pathlib import Path

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


def kill_a_learner_once(algorithm, result, **kwargs):
    """At the third iteration of the first attempt."""
    from tests.algorithm.kills import kill

    marker = Path(algorithm.config.env_config["marker"])
    if result["training_iteration"] == 3 and not marker.exists():
        marker.touch()
        kill(algorithm.pipeline.learning.learners[0])


@pytest.mark.slow
def test_a_trial_goes_on_from_its_checkpoint_after_a_learner_was_killed(small_config, tmp_path):
    import gymnasium
    from ray import tune

    tune.register_env("marked", lambda config: gymnasium.make("CartPole-v1"))
    config = small_config.environment("marked", env_config={"marker": str(tmp_path / "killed")})
    config.training(num_replay_shards=1).callbacks(on_train_result=kill_a_learner_once)
    config.num_learners = 1
    tuner = tune.Tuner(
        "EfficientZero",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 6},
            storage_path=str(tmp_path),
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
            verbose=0,
        ),
    )
    (result,) = tuner.fit()
    assert (tmp_path / "killed").exists()
    assert result.error is None
    pipeline = result.metrics["pipeline"]
    assert result.metrics["training_iteration"] == 6
    assert pipeline["num_updates"] <= pipeline["num_env_steps"] // 4
    assert pipeline["num_updates"] > 40


def test_a_trial_reserves_room_for_every_role(small_config):
    from rllib_ez.algorithm.algorithm import EfficientZero

    small_config.num_env_runners, small_config.num_learners = 3, 2
    small_config.training(
        num_replay_shards=2, num_reanalyse_actors=1, num_gpus_per_reanalyse_actor=0.25
    )
    request = EfficientZero.default_resource_request(small_config)
    assert request.bundles[-3:] == [{"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 1.0, "GPU": 0.25}]
    assert sum(bundle.get("CPU", 0) for bundle in request.bundles) == 1 + 3 + 2 + 2 + 1

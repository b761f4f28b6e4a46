"""The loop as a whole, with tiny numbers: ratio, determinism, workers, metrics."""

import numpy as np
import pytest

pytestmark = pytest.mark.ray


@pytest.fixture
def build(small_config):
    """Builds algorithms and stops them after the test."""
    made = []

    def make(**settings):
        config = small_config.copy(copy_frozen=False)
        for name, value in settings.items():
            setattr(config, name, value)
        made.append(config.build_algo())
        return made[-1]

    yield make
    for algorithm in made:
        algorithm.stop()


def actions_and_losses(algorithm, rounds):
    losses = []
    for _ in range(rounds):
        result = algorithm.train()
        learner = result.get("learners", {}).get("default_policy", {})
        losses.append({k: float(v) for k, v in learner.items() if k.endswith("_loss")})
    replay = algorithm.pipeline.replay
    live = replay.num_positions
    return replay.action[:live].tolist(), losses


def test_the_replay_ratio_is_exact(build):
    algorithm = build(replay_ratio=0.3)
    for _ in range(6):
        algorithm.train()
        steps, updates = algorithm.pipeline.num_env_steps, algorithm.pipeline.num_updates
        assert updates == (0 if steps < 80 else steps * 3 // 10)
    assert algorithm.pipeline.num_env_steps == 240


def test_the_same_seed_gives_the_same_actions_and_losses(build):
    first = actions_and_losses(build(), 8)
    second = actions_and_losses(build(), 8)
    assert first == second
    assert first[1][-1]["total_loss"] > 0


def test_another_seed_gives_other_actions(build):
    assert actions_and_losses(build(), 3)[0] != actions_and_losses(build(seed=8), 3)[0]


def test_gumbel_search_trains_too(build):
    _, losses = actions_and_losses(build(search_method="gumbel"), 5)
    assert np.isfinite(losses[-1]["total_loss"])


@pytest.mark.parametrize(("num_env_runners", "num_learners"), [(2, 0), (0, 1), (2, 1)])
def test_remote_runners_and_learners_keep_the_ratio(build, num_env_runners, num_learners):
    algorithm = build(num_env_runners=num_env_runners, num_learners=num_learners)
    for _ in range(4):
        result = algorithm.train()
    pipeline = algorithm.pipeline
    assert pipeline.num_env_steps == 4 * 40 * max(1, num_env_runners)
    assert pipeline.num_updates == pipeline.num_env_steps // 4
    assert result["num_env_steps_sampled_lifetime"] == pipeline.num_env_steps
    pipeline.replay.check_valid()


def test_a_remote_learner_learns_what_a_local_one_learns(build):
    local = actions_and_losses(build(), 6)
    remote = actions_and_losses(build(num_learners=1), 6)
    assert local[0] == remote[0]
    assert local[1][-1] == pytest.approx(remote[1][-1], rel=1e-4)


def test_results_pass_rllibs_own_check(build):
    from ray.rllib.utils.test_utils import check_train_results_new_api_stack

    algorithm = build()
    for _ in range(4):
        result = algorithm.train()
    check_train_results_new_api_stack(result)


def test_evaluation_plays_exactly_the_asked_episodes_and_repeats_itself(build):
    algorithm = build(evaluation_interval=1)
    algorithm.train()
    first = algorithm.evaluate()["env_runners"]
    second = algorithm.evaluate()["env_runners"]
    assert first["num_episodes"] == 4
    assert first["episode_return_mean"] == second["episode_return_mean"]


def test_several_batches_drawn_together_never_pass_a_target_change(build):
    algorithm = build(batches_ahead=50)
    for _ in range(3):
        algorithm.train()
    pipeline = algorithm.pipeline
    assert pipeline.num_updates == 30
    assert pipeline.reanalyser.version == 30
    assert pipeline.num_samples >= 6  # a draw for each target version at least


def test_a_replay_that_cannot_fit_is_refused_with_the_numbers(build):
    from rllib_ez.errors import MemoryBudgetError

    with pytest.raises(MemoryBudgetError, match=r"replay needs .* when full, but only"):
        build(replay_capacity=10**13, replay_bytes=10**15)

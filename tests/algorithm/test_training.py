"""The loop as a whole, with tiny numbers: ratio, determinism, workers, metrics."""

import numpy as np
import pytest
import torch

from rllib_ez.algorithm import actors
from rllib_ez.errors import SettingError
from tests.algorithm.kills import assert_exact, call, replay_of, train_until

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
    replay = replay_of(algorithm)
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


@pytest.mark.parametrize(
    ("runners", "shards", "searchers", "learners"),
    [(2, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0), (1, 2, 1, 2)],
)
def test_the_ratio_is_exact_wherever_the_work_is_done(build, runners, shards, searchers, learners):
    algorithm = build(
        num_env_runners=runners,
        num_replay_shards=shards,
        num_reanalyse_actors=searchers,
        num_learners=learners,
    )
    train_until(algorithm, lambda: algorithm.pipeline.num_env_steps >= 300)
    pipeline = algorithm.pipeline
    assert pipeline.num_updates <= pipeline.num_env_steps // 4
    assert_exact(algorithm)
    assert algorithm.train()["num_env_steps_sampled_lifetime"] >= 300


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_a_lone_runner_plays_with_weights_of_its_last_rounds(build, num_env_runners):
    """Of several one may be slow to start, and the others' steps are learnt from meanwhile."""
    algorithm = build(num_env_runners=num_env_runners)
    train_until(algorithm, lambda: algorithm.pipeline.num_env_steps >= 300)
    round_updates = 4 * 10 // 4  # 4 envs, 10 steps, a ratio of 1 / 4
    assert algorithm.pipeline.sampling.oldest_weights <= 2 * round_updates + 5


def test_learners_hold_the_same_weights_and_learn_equal_shares(build):
    algorithm = build(num_learners=2)
    train_until(algorithm, lambda: algorithm.pipeline.num_updates >= 30)
    algorithm.finish_updates()
    first, second = (
        call(one, lambda learner: learner.publish()[1])
        for one in algorithm.pipeline.learning.learners
    )
    for name, weights in first.items():
        np.testing.assert_array_equal(weights.numpy(), second[name].numpy(), err_msg=name)


def test_a_batch_that_cannot_be_shared_equally_is_refused(small_config):
    from rllib_ez.errors import SettingError

    small_config.num_learners = 3
    with pytest.raises(SettingError, match="multiple of num_learners.*got 16 and 3"):
        small_config.build_algo()


@pytest.fixture
def one_torch_thread():
    """What Ray gives an actor with one CPU; sums of several threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_remote_learner_learns_what_a_local_one_learns(build, one_torch_thread):
    """The same batches in a process of its own give the same weights."""
    local, remote = (trained_on_the_same(build, num_learners) for num_learners in (0, 1))
    for name, weights in local.items():
        np.testing.assert_allclose(weights.numpy(), remote[name].numpy(), atol=1e-5)


def trained_on_the_same(build, num_learners):
    """Weights after 40 updates on 160 random steps."""
    algorithm = build(num_learners=num_learners, num_random_steps=160, prefetch_batches=0)
    algorithm.pipeline.credits.env_steps_limit = 160
    train_until(algorithm, lambda: algorithm.pipeline.num_env_steps >= 160)
    algorithm.finish_updates()
    assert algorithm.pipeline.num_updates == 40
    return algorithm.learner_weights()


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
    assert pipeline.preparation.version_at(30) == 30
    assert pipeline.preparation.num_draws >= 6  # a draw for each target version at least


def test_a_replay_that_cannot_fit_is_refused_with_the_numbers(build):
    from rllib_ez.errors import MemoryBudgetError

    with pytest.raises(MemoryBudgetError, match=r"replay needs .* when full, but only"):
        build(replay_capacity=10**13, replay_bytes=10**15)


def test_frames_gathered_on_a_device_change_no_bit(build, monkeypatch):
    """The device is the CPU here: what differs is the way that frames take."""
    first = actions_and_losses(build(), 5)
    monkeypatch.setattr(actors, "frames_device", lambda config, num_bytes: torch.device("cpu"))
    assert actions_and_losses(build(), 5) == first


def test_a_learner_on_a_thread_keeps_the_ratio_and_learns(build):
    algorithm = build(learner_thread=True, replay_ratio=0.3)
    losses = actions_and_losses(algorithm, 8)[1]
    algorithm.finish_updates()
    assert_exact(algorithm)
    assert algorithm.pipeline.num_updates == algorithm.pipeline.num_env_steps * 3 // 10
    assert losses[-1]["total_loss"] < losses[3]["total_loss"]


def test_a_learner_on_a_thread_is_refused_beside_learners_elsewhere(small_config):
    small_config.learner_thread, small_config.num_learners = True, 1
    with pytest.raises(SettingError, match="learner_thread must be off .* num_learners 1"):
        small_config.validate()

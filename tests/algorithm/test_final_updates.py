"""Updates made after the last env step of a run."""

import pytest
import torch

from tests.algorithm.kills import train_until

pytestmark = pytest.mark.ray
STEPS, UPDATES = 160, 40 + 12  # a quarter of an update for each step, and the final ones


def build(config, **settings):
    algorithm = config.training(num_final_updates=12, **settings).build_algo()
    algorithm.pipeline.credits.env_steps_limit = STEPS
    return algorithm


def is_done(algorithm):
    return lambda: algorithm.pipeline.num_updates >= UPDATES


def assert_same(one, other):
    assert one.pipeline.counts() == other.pipeline.counts()
    theirs = other.learner_weights()
    for name, weights in one.learner_weights().items():
        torch.testing.assert_close(weights, theirs[name], rtol=0, atol=0)


def test_final_updates_follow_the_last_env_step_in_rounds(small_config):
    algorithm, counts = build(small_config), []
    for _ in range(9):
        algorithm.train()
        counts.append((algorithm.pipeline.num_env_steps, algorithm.pipeline.num_updates))
    algorithm.stop()
    rest = [(160, n) for n in (45, 50, 52, 52, 52)]  # a target network comes every five
    assert counts == [(40, 0), (80, 20), (120, 30), (160, 40), *rest]


def test_without_an_end_there_are_none(small_config):
    algorithm = small_config.training(num_final_updates=12).build_algo()
    for _ in range(4):
        algorithm.train()
    assert (algorithm.pipeline.num_env_steps, algorithm.pipeline.num_updates) == (160, 40)
    algorithm.stop()


@pytest.mark.parametrize("rounds", [4, 6], ids=["before them", "between them"])
def test_a_run_resumed_among_them_ends_with_the_same_bits(small_config, tmp_path, rounds):
    whole = build(small_config)
    for _ in range(rounds):
        whole.train()
    folder = whole.save_to_path(tmp_path / "checkpoint")
    resumed = type(whole).from_checkpoint(folder)
    resumed.pipeline.credits.env_steps_limit = STEPS
    for one in (whole, resumed):
        train_until(one, is_done(one))
    assert_same(whole, resumed)
    for one in (whole, resumed):
        one.stop()


def test_a_round_broken_off_among_them_ends_with_the_same_bits(small_config):
    broken, whole = build(small_config), build(small_config)
    train_until(broken, lambda: broken.pipeline.num_updates >= 45)
    broken.pipeline.is_interrupted = lambda: broken.pipeline.num_updates >= 47
    broken.train()
    assert broken.pipeline.num_updates == 47
    broken.pipeline.is_interrupted = lambda: False
    for one in (broken, whole):
        train_until(one, is_done(one))
    assert_same(broken, whole)
    for one in (broken, whole):
        one.stop()


def test_processes_side_by_side_make_exactly_as_many(small_config):
    config = small_config.env_runners(num_env_runners=2)
    algorithm = build(config, num_replay_shards=2)
    train_until(algorithm, is_done(algorithm))
    for _ in range(2):
        algorithm.train()
    pipeline = algorithm.pipeline
    assert pipeline.num_updates == int(pipeline.num_env_steps * 0.25) + 12
    algorithm.stop()

"""Stopped and resumed equals not stopped; a failed save leaves the old checkpoint."""

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from rllib_ez.errors import CheckpointError

pytestmark = pytest.mark.ray


def everything(algorithm):
    """What must agree: weights, replay with priorities, cached targets, counters."""
    pipeline, shard = algorithm.pipeline, algorithm.pipeline.shards.workers[0].target.shard
    weights = {n: t.numpy() for n, t in algorithm.learner_weights().items()}
    return {
        **weights,
        "action": shard.replay.action,
        "mass": shard.replay.mass,
        "frame": shard.replay.frame,
        "policy": shard.cache.policy,
        "counters": np.array([*dataclasses.astuple(pipeline.counts())[:3]]),
    }


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture
def trained(small_config):
    algorithm = small_config.build_algo()
    for _ in range(4):
        algorithm.train()
    yield algorithm
    algorithm.stop()


def test_resumed_equals_not_stopped_bit_for_bit(trained, tmp_path):
    from rllib_ez.algorithm.algorithm import EfficientZero

    trained.save_to_path(tmp_path / "checkpoint")
    resumed = EfficientZero.from_checkpoint(str(tmp_path / "checkpoint"))
    for algorithm in (trained, resumed):
        for _ in range(5):
            algorithm.train()
    assert_identical(everything(trained), everything(resumed))
    assert trained.pipeline.num_updates == 90
    resumed.stop()


def test_restoring_an_older_checkpoint_rolls_back(trained, tmp_path):
    trained.save_to_path(tmp_path / "checkpoint")
    before = {name: value.copy() for name, value in everything(trained).items()}
    trained.train()
    trained.restore_from_path(str(tmp_path / "checkpoint"))
    assert_identical(before, everything(trained))


def test_the_agent_in_a_checkpoint_acts_as_the_algorithm_does(trained, tmp_path):
    from rllib_ez.agent import Agent

    trained.save_to_path(tmp_path / "checkpoint")
    agent = Agent.load(tmp_path / "checkpoint")
    observations = np.random.default_rng(0).normal(size=(6, 1, 4)).astype(np.float32)
    runner = trained.env_runner
    runner.set_weights(trained.learner_weights(), 0)
    seeds = np.zeros(6, np.uint64)
    ours = agent.search(observations, seeds=seeds)
    theirs = runner.actor.exploit(observations, seeds=seeds)
    np.testing.assert_array_equal(ours.visit_counts, theirs.visit_counts)
    assert agent.card.num_env_steps == 160


def test_a_save_that_fails_leaves_the_old_checkpoint(trained, tmp_path):
    target = tmp_path / "checkpoint"
    trained.save_to_path(target)
    before = (target / "pipeline" / "counters.json").read_text()
    trained.train()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as if the disk were full
    try:
        with pytest.raises(CheckpointError, match="is untouched"):
            trained.save_to_path(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (target / "pipeline" / "counters.json").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_move_that_fails_puts_the_old_checkpoint_back(tmp_path, monkeypatch):
    from rllib_ez.algorithm import algorithm

    old, draft, real = tmp_path / "checkpoint", tmp_path / "draft", os.replace
    old.mkdir()
    draft.mkdir()
    (old / "whole").touch()

    def replace(source, target):
        if source == draft:
            raise OSError("no")
        real(source, target)

    monkeypatch.setattr(algorithm.os, "replace", replace)
    with pytest.raises(OSError, match="no"):
        algorithm.move_into_place(draft, old)
    assert (old / "whole").exists()


def test_a_checkpoint_cut_short_is_refused(trained, tmp_path):
    from rllib_ez.algorithm.algorithm import EfficientZero

    folder = trained.save_to_path(tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "pipeline" / "shard_0" / "target_cache.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="must be complete"):
        EfficientZero.from_checkpoint(folder)


def test_a_checkpoint_of_another_format_is_refused(trained, tmp_path):
    folder = trained.save_to_path(tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / "pipeline" / "counters.json"
    counters = json.loads(file.read_text())
    file.write_text(json.dumps(counters | {"format": 3}))
    with pytest.raises(CheckpointError, match="must be of format 2, got 3"):
        trained.restore_from_path(folder)


def test_a_second_checkpoint_links_what_has_not_changed(small_config, tmp_path):
    algorithm = small_config.training(replay_capacity=60_000).build_algo()
    algorithm.train()
    for name in ("first", "second"):
        algorithm.save_to_path(tmp_path / name)
    blocks = (tmp_path / "second" / "pipeline" / "shard_0" / "replay").rglob("*.block")
    assert any(file.stat().st_nlink == 2 for file in blocks)
    algorithm.stop()


def test_a_folder_that_is_no_checkpoint_is_refused(trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"must hold rllib_checkpoint.json"):
        trained.restore_from_path(str(tmp_path))


def test_an_existing_checkpoint_is_replaced_whole(trained, tmp_path):
    target = tmp_path / "checkpoint"
    trained.save_to_path(target)
    (target / "left_over").touch()
    trained.train()
    trained.save_to_path(target)
    assert json.loads((target / "pipeline" / "counters.json").read_text())["num_updates"] == 50
    assert not (target / "left_over").exists()


def test_the_agent_loads_without_ray(trained, tmp_path):
    folder = trained.save_to_path(tmp_path / "checkpoint")
    code = (
        "import sys; from rllib_ez.agent import Agent; import numpy as np;"
        f"print(Agent.load({folder!r}).act(np.zeros(4)));"
        "assert 'ray' not in sys.modules, 'ray was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("0", "1")
    shutil.rmtree(folder)

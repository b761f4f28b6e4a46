from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.order import begun, resumed
from rllib_ez.errors import SettingError
from rllib_ez.runs.plan import Plan
from tests.core.replay.archived import ArchiveSpec, archive, episode

CARTPOLE = ArchiveSpec(env="CartPole-v1", frame_shape=(4,), frame_dtype="float32", num_actions=2)


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run whose folder holds an archive."""
    archive(tmp_path / "old" / "episodes", spec=CARTPOLE).append([episode_for_cartpole()])
    return tmp_path / "old"


def episode_for_cartpole() -> Any:
    return episode(1, spec=CARTPOLE, steps=7)


def offline(tmp_path: Path, source: str, **options: Any) -> Plan:
    choice = {"env": "cartpole", "game": None, "preset": []}
    order = begun(choice, [], {"from_episodes": source, **options}, tmp_path / "run")
    return order.plan


def test_a_run_means_its_episodes(old_run: Path, tmp_path: Path):
    plan = offline(tmp_path, str(old_run))
    assert plan.settings["from_episodes"] == str(old_run / "episodes")


def test_a_path_is_kept_as_it_is_seen_from_everywhere(
    old_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    plan = offline(tmp_path, "old/episodes")
    assert plan.settings["from_episodes"] == str(old_run / "episodes")


def test_it_is_told_what_replay_begins_with(old_run: Path, tmp_path: Path):
    choice = {"env": "cartpole", "game": None, "preset": []}
    order = begun(choice, [f"from_episodes={old_run}"], {}, tmp_path / "run")
    assert "up to 7 steps of 1 episodes" in order.notes[-1]


@pytest.mark.parametrize(
    ("assignments", "archive"),
    [([], "episodes"), (["episode_archive=null"], None), (["episode_archive=s3://a"], "s3://a")],
)
def test_episodes_are_archived_unless_told(
    assignments: list[str], archive: str | None, tmp_path: Path
):
    choice = {"env": "cartpole", "game": None, "preset": []}
    order = begun(choice, assignments, {}, tmp_path / "run")
    assert order.plan.settings["episode_archive"] == archive


@pytest.fixture
def offline_run(checkpoint: Path, old_run: Path, tmp_path: Path) -> Path:
    """A run of 50 updates and no env step, with a checkpoint."""
    plan = offline(tmp_path, str(old_run), env_steps=0, num_offline_updates=50)
    plan.write(checkpoint.parent)
    return checkpoint.parent


def test_a_run_without_env_steps_may_get_more_updates(offline_run: Path):
    plan = resumed(offline_run, {}, {"num_offline_updates": 80}).plan
    assert (plan.length, plan.unit) == (80, "updates")
    assert Plan.read(offline_run) == plan


def test_once_there_are_env_steps_offline_updates_stay_as_they_are(offline_run: Path):
    resumed(offline_run, {}, {"env_steps": 100})
    with pytest.raises(SettingError, match="got 80: give --env-steps"):
        resumed(offline_run, {}, {"num_offline_updates": 80})


def test_a_run_that_made_final_updates_gets_no_more_env_steps(offline_run: Path):
    plan = Plan.read(offline_run)  # its checkpoint: 100 env steps, 10 updates
    changed = {"num_offline_updates": 0, "num_random_steps": 0, "replay_ratio": 0.05}
    settings = plan.settings | changed | {"num_final_updates": 20}
    replace(plan, env_steps=100, settings=settings).write(offline_run)
    with pytest.raises(SettingError, match=r"env_steps must stay .* \(5 are\), got 200"):
        resumed(offline_run, {}, {"env_steps": 200})
    assert Plan.read(offline_run).env_steps == 100


def test_a_resumed_run_may_keep_more_checkpoints_and_go_elsewhere(offline_run: Path):
    order = resumed(offline_run, {}, {"keep_checkpoints": 5}, address="head:6379")
    assert (order.plan.keep_checkpoints, order.address) == (5, "head:6379")


def test_a_long_silent_start_is_told(tmp_path: Path):
    choice = {"env": "cartpole", "game": None, "preset": []}
    many = begun(choice, ["num_random_steps=500", "replay_ratio=2.0"], {}, tmp_path / "many")
    few = begun(choice, ["num_random_steps=499", "replay_ratio=2.0"], {}, tmp_path / "few")
    assert "the first 500 env steps are random; the 1,000 updates" in many.notes[-1]
    assert not any("random" in note for note in few.notes)

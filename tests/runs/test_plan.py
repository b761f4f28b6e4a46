from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_ez.errors import CheckpointError, EnvironmentSpecError, SettingError
from rllib_ez.runs.plan import Plan, make_plan


def plan_for(env: str | None = None, **changes: Any) -> Plan:
    return make_plan(**arguments(env, **changes))[0]


def arguments(env: str | None = None, **changes: Any) -> dict[str, Any]:
    nothing = {"env": env, "game": None, "preset": [], "assignments": [], "options": {}}
    return nothing | changes


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("env", ["cartpole", "CartPole-v1"])
def test_cartpole_is_found_by_preset_and_by_id(env: str):
    plan = plan_for(env)
    assert (plan.env, plan.presets, plan.env_steps) == ("CartPole-v1", ["cartpole"], 15_000)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("env", ["pong", "ALE/Pong-v5", "PongNoFrameskip-v4"])
def test_a_game_without_a_gpu_gets_the_small_preset_and_says_so(env: str):
    plan, notes = make_plan(**arguments(env))
    assert plan.presets == ["atari100k_small"]
    assert "no GPU here" in notes[0]


def test_a_game_with_a_gpu_gets_the_papers_preset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert plan_for(game="pong").presets == ["atari100k"]


@pytest.mark.usefixtures("no_gpu")
def test_a_named_recipe_takes_the_place_of_the_automatic_one():
    plan = plan_for("pong", preset=["atari100k", "muzero"])
    assert plan.presets == ["atari100k", "muzero"]
    assert plan.env_steps == 100_000


def test_an_overlay_comes_on_top():
    plan = plan_for("cartpole", preset=["no_consistency"])
    assert plan.settings["consistency_weight"] == 0
    assert plan.settings["td_steps"] == 5  # of the recipe


def test_a_single_setting_beats_the_preset():
    assert plan_for("cartpole", assignments=["td_steps=7"]).settings["td_steps"] == 7


def test_an_option_beats_all():
    plan = plan_for("cartpole", assignments=["seed=1"], options={"seed": 2, "env_steps": 5})
    assert (plan.settings["seed"], plan.env_steps) == (2, 5)


def test_another_id_takes_the_defaults_and_says_so():
    plan, notes = make_plan(**arguments("MountainCar-v0"))
    assert (plan.presets, plan.env_steps) == ([], 20_000)
    assert "read off the environment's spaces" in notes[-1]


def test_vectors_get_one_thread_and_pixels_all_cores_but_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rllib_ez.runs.threads.usable_cores", lambda: 8)
    assert plan_for("cartpole").threads == 1
    assert plan_for("toy_pixels").threads == 7


def test_a_plan_survives_its_file(tmp_path: Path):
    plan = plan_for("cartpole")
    plan.write(tmp_path)
    assert Plan.read(tmp_path) == plan


def test_a_torn_plan_is_refused(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("env: CartPole-v1\nsettings: {td_st")
    with pytest.raises(CheckpointError, match=r"must hold a readable config\.yaml"):
        Plan.read(tmp_path)


def offline(env_steps: int) -> Plan:
    options = {"env_steps": env_steps, "num_offline_updates": 50, "from_episodes": "runs/a"}
    return plan_for("cartpole", options=options)


def finished_off() -> Plan:
    """Half an update a step after 10 random ones, then 20."""
    settings = ["num_final_updates=20", "replay_ratio=0.5", "num_random_steps=10"]
    return plan_for("cartpole", assignments=settings)


@pytest.mark.parametrize(
    ("plan", "length", "unit"),
    [
        (plan_for("cartpole"), 15_000, "env steps"),
        (offline(0), 50, "updates"),
        (offline(200), 250, "updates and env steps"),
        (finished_off(), 15_020, "env steps and final updates"),
    ],
)
def test_progress_counts_updates_from_the_archive_and_env_steps(plan: Plan, length: int, unit: str):
    assert (plan.length, plan.unit) == (length, unit)


def test_updates_that_env_steps_earn_are_no_progress():
    plan = offline(200)
    assert plan.progress(env_steps=0, updates=30) == 30
    assert plan.progress(env_steps=80, updates=70) == 130


@pytest.mark.parametrize(
    ("env_steps", "updates", "progress"),
    [(9, 0, 9), (101, 48, 101), (101, 50, 101), (101, 51, 102), (15_000, 7520, 15_020)],
)
def test_final_updates_count_once_those_of_the_env_steps_are_made(
    env_steps: int, updates: int, progress: int
):
    assert finished_off().progress(env_steps=env_steps, updates=updates) == progress


def test_an_archive_and_updates_may_be_given_in_either_way():
    plan = plan_for(
        "cartpole", assignments=["from_episodes=runs/a"], options={"num_offline_updates": 5}
    )
    assert plan.settings["from_episodes"] == "runs/a"


@pytest.mark.parametrize(
    ("given", "used"),
    [("episodes", "/runs/a/episodes"), ("/data/x", "/data/x"), ("s3://b/x", "s3://b/x")],
)
def test_an_archive_without_a_root_lies_in_the_runs_folder(given: str, used: str):
    plan = plan_for("cartpole", assignments=[f"episode_archive={given}"])
    assert plan.config(Path("/runs/a")).episode_archive == used


def test_a_default_gives_way_to_a_setting():
    defaults = {"episode_archive": "episodes"}
    assert plan_for("cartpole", defaults=defaults).settings["episode_archive"] == "episodes"
    plan = plan_for("cartpole", defaults=defaults, assignments=["episode_archive=null"])
    assert plan.settings["episode_archive"] is None


def test_a_plan_of_before_checkpoints_were_counted_can_be_read(tmp_path: Path):
    plan_for("cartpole").write(tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("keep_checkpoints: 2\n", ""))
    assert Plan.read(tmp_path).keep_checkpoints == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "give one of --env and --game"),
        ({"env": "cartpole", "game": "pong"}, "give one of --env and --game"),
        ({"env": "cartpole", "preset": ["muzeroo"]}, "nearest: 'muzero'"),
        ({"env": "cartpole", "assignments": ["td_steps"]}, "form name=value, got 'td_steps'"),
        ({"env": "cartpole", "assignments": ["td_stepz=3"]}, "did you mean td_steps"),
        ({"env": "cartpole", "assignments": ["td_steps=-1"]}, "td_steps must be >= 1, got -1"),
        ({"env": "cartpole", "assignments": ["td_steps=[1"]}, "td_steps must be a YAML value"),
        ({"env": "cartpole", "assignments": ["hidden_size=0"]}, "hidden_size must be >= 1, got 0"),
        ({"env": "cartpole", "options": {"env_steps": -5}}, "env_steps must be .* >= 1, got -5"),
        ({"env": "cartpole", "options": {"threads": -1}}, "threads must be .* >= 0, got -1"),
    ],
)
def test_a_wrong_order_is_refused_by_name_and_value(changes: dict[str, Any], text: str):
    with pytest.raises(SettingError, match=text):
        make_plan(**arguments(**changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"env": "CartPool-v1"}, "got 'CartPool-v1'; nearest: 'CartPole-v"),
        ({"game": "pongg"}, "got 'pongg'; nearest: 'pong'"),
        ({"env": "Pendulum-v1"}, "not yet supported: Box action space"),
        ({"env": "atari100k"}, "a preset that fits several"),
    ],
)
def test_a_wrong_environment_is_refused(changes: dict[str, Any], text: str):
    with pytest.raises(EnvironmentSpecError, match=text):
        make_plan(**arguments(**changes))

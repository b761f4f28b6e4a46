"""Bad input gives one clear line on stderr and an exit code that is not 0; help helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.runs.folder import new_run_folder
from rllib_ez.runs.plan import make_plan
from tests.core.replay.archived import PIXELS, archive, episode

from .conftest import ez


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--env", "CartPool-v1"], "got 'CartPool-v1'; nearest: 'CartPole-v1'"),
        (["--game", "pongg"], "got 'pongg'; nearest: 'pong'"),
        (["--env", "Pendulum-v1"], "not yet supported: Box action space"),
        (["--env", "cartpole", "--set", "td_stepz=3"], "'td_stepz'; did you mean td_steps"),
        (["--env", "cartpole", "--set", "td_steps=-3"], "td_steps must be >= 1, got -3"),
        (["--env", "cartpole", "--env-steps", "-3"], "env_steps must be a whole number >= 1"),
        (["--env", "cartpole", "--num-env-runners", "-1"], "num_env_runners must be >= 0, got -1"),
        (["--env", "cartpole", "--evaluation-episodes", "0"], "evaluation_duration must be >= 1"),
        (["--env", "cartpole", "--num-replay-shards", "-1"], "num_replay_shards must be >= 0"),
        (
            ["--env", "cartpole", "--num-reanalyse-actors", "-1"],
            "num_reanalyse_actors must be >= 0",
        ),
        (["--env", "cartpole", "--keep-checkpoints", "0"], "keep_checkpoints must be a whole"),
        (["--env", "cartpole", "--env-steps", "0"], "0 is for --from-episodes with --updates"),
        (["--env", "cartpole", "--updates", "5"], "must be 0 without from_episodes, got 5"),
        ([], "give one of --env and --game"),
    ],
)
def test_a_wrong_training_order_is_one_line(args: list[str], text: str):
    result = ez("train", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_wrong_order_leaves_no_folder(tmp_path: Path):
    ez("train", "--env", "cartpole", "--set", "td_steps=-3", "--out", str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--num-learners", "1"], "needs 99 GPUs where this machine has"),
        ([], "num_gpus_per_learner must be at most the"),
    ],
)
def test_more_gpus_than_there_are_is_refused(args: list[str], text: str, tmp_path: Path):
    wish = ["--set", "num_gpus_per_learner=99", "--out", str(tmp_path / "run")]
    result = ez("train", "--env", "cartpole", *wish, *args)
    assert (result.exit_code, text in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_episodes_of_another_environment_are_refused(tmp_path: Path):
    archive(tmp_path / "episodes", spec=PIXELS).append([episode(1, steps=5, spec=PIXELS)])
    out = tmp_path / "run"
    result = ez("train", "--env", "cartpole", "--from-episodes", str(tmp_path), "--out", str(out))
    assert (result.exit_code, out.exists()) == (3, False)
    assert "error: frame_shape must be (4,), as here (CartPole-v1), got" in result.stderr


def test_episodes_that_are_not_there_are_refused(tmp_path: Path):
    result = ez("train", "--env", "cartpole", "--from-episodes", str(tmp_path / "nowhere"))
    assert (result.exit_code, "archive must" in result.stderr) == (3, True)


def test_a_folder_that_holds_a_run_is_not_trained_over(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoint_000000100").mkdir()
    result = ez("train", "--env", "cartpole", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert f"ez train --resume {tmp_path}" in result.stderr


def test_a_folder_whose_run_has_no_checkpoint_is_used_again(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    plan, _ = make_plan(env="cartpole", game=None, preset=[], assignments=[], options={})
    assert new_run_folder(tmp_path, plan) == tmp_path


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    result = ez("train", "--env", "cartpole", "--out", str(tmp_path / "file" / "run"))
    assert (result.exit_code, "out must be a folder" in result.stderr) == (2, True)


def test_a_resumed_run_keeps_its_settings(checkpoint: Path):
    result = ez("train", "--resume", str(checkpoint), "--seed", "0", "--set", "td_steps=3")
    assert result.exit_code == 2
    assert "keeps its settings, got --set, --seed" in result.stderr


def test_a_resumed_run_keeps_its_archive(checkpoint: Path):
    result = ez("train", "--resume", str(checkpoint), "--no-episodes")
    assert (result.exit_code, "got --no-episodes" in result.stderr) == (2, True)


def test_a_checkpoint_without_its_run_cannot_be_resumed(checkpoint: Path):
    result = ez("train", "--resume", str(checkpoint))
    assert (result.exit_code, "beside config.yaml" in result.stderr) == (3, True)


@pytest.mark.parametrize("command", ["evaluate", "play"])
def test_a_missing_checkpoint_is_named(command: str):
    result = ez(command, "runs/nowhere")
    assert result.exit_code == 3
    assert "checkpoint must exist, got 'runs/nowhere'" in result.stderr


def test_a_checkpoint_cut_short_is_refused(checkpoint: Path):
    weights = checkpoint / FOLDER / "weights.pt"
    weights.write_bytes(weights.read_bytes()[:500])
    result = ez("evaluate", str(checkpoint))
    assert result.exit_code == 3
    assert "checkpoint must hold whole weights" in result.stderr


def test_zero_episodes_are_refused(checkpoint: Path):
    result = ez("evaluate", str(checkpoint), "--episodes", "0")
    assert (result.exit_code, "episodes must be >= 1, got 0" in result.stderr) == (2, True)


def test_a_missing_device_is_refused(checkpoint: Path):
    result = ez("evaluate", str(checkpoint), "--device", "tpu")
    assert (result.exit_code, "device must be cpu" in result.stderr) == (2, True)


def test_a_video_in_another_format_is_refused_before_anything_is_played(checkpoint: Path):
    result = ez("evaluate", str(checkpoint), "--video", "game.mp4")
    assert result.exit_code == 2
    assert "video must end in .gif" in result.stderr


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["play"], ["profile"], ["info"]])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(command: list[str], flag: str):
    result = ez(*command, flag)
    assert (result.exit_code, "Usage" in result.stdout) == (0, True)


def test_training_help_has_examples():
    assert "ez train --env cartpole" in ez("train", "-h").stdout


def test_the_version_is_told():
    assert ez("--version").stdout.startswith("rllib_ez 0.")


def test_info_lists_presets_and_settings():
    facts = json.loads(ez("info", "--json", "--settings").stdout)
    assert "cartpole" in facts["presets"]
    assert facts["settings"]["td_steps"] == 5


def test_info_shows_versions():
    assert "2.60" in ez("info").stdout

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.remote import RemoteAgent
from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.errors import EfficientZeroError, SettingError
from tests.serve.test_remote_evaluation import served, written_agent

from .conftest import ez

TOKEN = "a-secret-of-a-service"


def evaluated(checkpoint: Path, *args: str) -> dict[str, Any]:
    result = ez("evaluate", str(checkpoint), "--json", *args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_every_return_is_told(checkpoint: Path):
    report = evaluated(checkpoint, "--episodes", "3")
    assert len(report["returns"]) == 3
    assert report["return_mean"] == pytest.approx(sum(report["returns"]) / 3)


def test_the_same_call_gives_the_same_returns(checkpoint: Path):
    first = evaluated(checkpoint, "--episodes", "4")
    assert evaluated(checkpoint, "--episodes", "4") == first


def test_another_seed_gives_other_episodes(checkpoint: Path):
    first = evaluated(checkpoint, "--episodes", "8")
    assert evaluated(checkpoint, "--episodes", "8", "--seed", "1")["returns"] != first["returns"]


def test_how_it_was_measured_is_told_to_people_and_programs(checkpoint: Path):
    sentence = (
        "A score is the mean raw return of 2 whole episodes played by the weights of a "
        "checkpoint: the greedy action of a search of 2 simulations, no noise, episodes drawn "
        "from seed 7."
    )
    protocol = evaluated(checkpoint, "--episodes", "2", "--seed", "7")["protocol"]
    assert (protocol["sentence"], protocol["atari"]) == (sentence, None)
    told = ez("evaluate", str(checkpoint), "--episodes", "2", "--seed", "7").stdout
    assert sentence in told


def test_twenty_episodes_are_played_unless_told(checkpoint: Path):
    assert evaluated(checkpoint)["episodes"] == 20


def test_sticky_actions_are_refused_where_nothing_can_stick(checkpoint: Path):
    result = ez("evaluate", str(checkpoint), "--sticky-actions", "0.25")
    assert result.exit_code == 2
    assert "sticky-actions must be left alone unless the environment is Atari" in result.stderr


def test_a_game_is_evaluated_with_sticky_actions(tmp_path: Path):
    model = ModelConfig(
        network="pixel", frame_shape=(32, 32, 3), frame_stack=1, num_actions=4, hidden_size=8,
        lstm_size=4, projection_size=8, prediction_hidden_size=4, latent_channels=4,
        downsampling=8, head_channels=2, head_hidden_size=4,
    )  # fmt: skip
    card = AgentCard(
        env="breakout", env_config={"max_episode_frames": 400}, frame_size=32, grayscale=False,
        frame_dtype="uint8", model=model, search=SearchConfig(num_simulations=1), seed=0,
        num_env_steps=100, num_updates=10, written_by="test",
    )  # fmt: skip
    checkpoint = tmp_path / "checkpoint"
    write_agent(checkpoint / FOLDER, card, EfficientZeroModel(model).inference_state_dict())
    args = ["--episodes", "2"]
    sticky = evaluated(checkpoint, *args, "--sticky-actions", "0.25")
    assert sticky["protocol"]["atari"] == {
        "max_noops": 30, "max_episode_frames": 400, "sticky_actions": 0.25,
    }  # fmt: skip
    assert "sticky actions (0.25), 1-30 no-ops" in sticky["protocol"]["sentence"]
    assert evaluated(checkpoint, *args)["protocol"]["atari"]["sticky_actions"] == 0.0


def test_the_number_of_simulations_can_be_changed(checkpoint: Path):
    report = evaluated(checkpoint, "--episodes", "1", "--simulations", "3")
    assert report["num_simulations"] == 3


def test_a_runs_folder_means_its_newest_checkpoint(checkpoint: Path):
    assert evaluated(checkpoint.parent, "--episodes", "1")["trained_env_steps"] == 100


def test_without_json_the_mean_is_told_in_words(checkpoint: Path):
    assert "mean return" in ez("evaluate", str(checkpoint), "--episodes", "2").stdout


def test_a_video_has_a_picture_for_each_step(checkpoint: Path, tmp_path: Path):
    path = tmp_path / "game.gif"
    report = evaluated(checkpoint, "--episodes", "1", "--video", str(path))
    with Image.open(path) as video:
        assert video.n_frames == report["lengths"][0]


def test_play_without_a_display_writes_a_file_and_says_where(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli.video.has_display", lambda: False)
    monkeypatch.chdir(tmp_path)
    result = ez("play", str(checkpoint))
    assert (tmp_path / "play.gif").is_file()
    assert f"no display here, so the game was written to {tmp_path / 'play.gif'}" in result.stdout


def test_play_opens_a_window_where_there_is_a_display(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli.video.has_display", lambda: True)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    result = ez("play", str(checkpoint))
    assert (result.exit_code, "returns" in result.stdout) == (0, True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A checkpoint, and the URL of a service that has it and wants a token."""
    folder = tmp_path_factory.mktemp("served")
    checkpoint = written_agent(folder / "checkpoint", "CartPole-v1")
    (folder / "tokens").write_text(f"client {TOKEN}\n")
    with served({"cart": checkpoint}, token_file=str(folder / "tokens")) as url:
        yield checkpoint, url


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's token, where a shell would have it."""
    monkeypatch.setenv("EZ_TOKEN", TOKEN)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("args", [[], ["--seed", "5"], ["--simulations", "2"]], ids=str)
@pytest.mark.parametrize("transport", ["http", "session", "websocket"])
def test_a_service_is_reported_of_as_its_checkpoint(
    service: tuple[Path, str], transport: str, args: list[str]
):
    checkpoint, url = service
    remote = ["--url", url, "--transport", transport, "--json", "--episodes", "3", *args]
    result = ez("evaluate", *remote)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == evaluated(checkpoint, "--episodes", "3", *args)


@pytest.mark.usefixtures("secret")
def test_a_services_agent_can_play_another_environment_and_be_drawn(
    service: tuple[Path, str], tmp_path: Path
):
    args = ["--env", "CartPole-v0", "--episodes", "1", "--video", str(tmp_path / "a.gif")]
    result = ez("evaluate", "--url", service[1], "--model", "cart", *args)
    assert (result.exit_code, "CartPole-v0: mean return" in result.stdout) == (0, True)
    assert (tmp_path / "a.gif").is_file()


def test_a_token_can_stand_in_a_file(service: tuple[Path, str], tmp_path: Path):
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    args = ["--url", service[1], "--token-file", str(token), "--episodes", "1"]
    assert ez("evaluate", *args).exit_code == 0
    token.write_text("\n")
    assert "token-file must hold one token" in ez("evaluate", *args).stderr


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--model", "horse"], "the service refused: model must"),
        (["--env", "Acrobot-v1"], "must have frames (4,) and 2 actions as in training"),
        (["--transport", "pigeon"], "transport must be one of"),
        (["--device", "cuda"], "device must be left to the service"),
        (["--simulations", "100000"], "simulations must be 1 .. 400"),
    ],
)
def test_what_a_service_cannot_do_is_told(service: tuple[Path, str], args: list[str], text: str):
    result = ez("evaluate", "--url", service[1], *args)
    assert (result.exit_code, text in result.stderr) == (2, True), result.stderr


def test_without_its_token_a_service_plays_nothing(service: tuple[Path, str]):
    result = ez("evaluate", "--url", service[1])
    assert (result.exit_code, "the service refused" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "exactly one of CHECKPOINT and --url must be given, got neither"),
        (["somewhere", "--url", "http://there"], "must be given, got both"),
        (["somewhere", "--transport", "http"], "transport must come with --url"),
        (["--url", "there:8000"], "url must start with http:// or https://, got 'there:8000'"),
    ],
)
def test_who_plays_must_be_clear(args: list[str], text: str):
    result = ez("evaluate", *args)
    assert (result.exit_code, text in result.stderr) == (2, True), result.stderr


def test_another_environment_is_for_checkpoints_too(checkpoint: Path):
    report = evaluated(checkpoint, "--episodes", "1", "--env", "CartPole-v0")
    assert report["env"] == "CartPole-v0"


def test_a_service_that_is_not_there_is_told_as_an_error():
    with pytest.raises(EfficientZeroError, match="the service must answer, got ConnectError"):
        RemoteAgent("http://127.0.0.1:9", retry_seconds=0)


@pytest.mark.usefixtures("secret")
def test_a_model_that_is_replaced_ends_its_evaluation(service: tuple[Path, str]):
    nothing = np.zeros((1, 2, 4), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64)
    with RemoteAgent(service[1]) as agent:
        agent.policy(*nothing)
        agent.version = 0  # as if it had been another when the evaluation began
        with pytest.raises(SettingError, match="got version 1 after version 0"):
            agent.policy(*nothing)

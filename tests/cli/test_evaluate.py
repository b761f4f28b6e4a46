from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import ez


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

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import tuning.rows
from rllib_ez.errors import CheckpointError, SettingError
from tests.tuning.sweeps import (
    CARTPOLE,
    EVERY,
    LEARNING_RATES,
    LENGTH,
    row,
    rows,
    write_attempt,
    write_checkpoint,
    write_finished,
    write_killed,
    write_order,
    write_search,
)
from tuning.reading import ROW_KEYS, read_sweep, rows_of
from tuning.report.model import Run
from tuning.specs import TrialSpec


def only_run(folder: Path) -> Run:
    (run,) = read_sweep(folder).runs
    return run


@pytest.fixture
def killed(tmp_path: Path) -> dict[tuple[str, int], Run]:
    return {(run.game, run.seed): run for run in read_sweep(write_killed(tmp_path)).runs}


def test_a_finished_trial_is_read_without_what_tune_adds(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE))
    run = only_run(tmp_path)
    assert (run.game, run.seed, run.sample, run.settings) == ("CartPole-v1", 0, "", {})
    assert run.rows == rows(CARTPOLE)
    assert (run.is_finished, run.score, run.error) == (True, 200.0, None)


def test_every_key_of_a_row_is_kept():
    told = re.findall(r"^([a-z][a-z_, ]*?)(?: {2}|$)", tuning.rows.__doc__, re.MULTILINE)
    assert ROW_KEYS == tuple(name for names in told for name in names.split(", "))


def test_the_sweep_tells_its_name_order_and_suite(tmp_path: Path):
    sweep = read_sweep(write_order(tmp_path / "mine"))
    assert (sweep.name, sweep.path, sweep.runs) == ("mine", str(tmp_path / "mine"), [])
    assert (sweep.order["presets"], sweep.suite.name) == (["control"], "classic")


def test_a_sweep_is_read_by_its_uri_as_by_its_path(tmp_path: Path):
    write_finished(write_order(tmp_path), {"CartPole-v1": [10.0, 20.0]})
    assert read_sweep(tmp_path.as_uri()).runs[0].rows == read_sweep(str(tmp_path)).runs[0].rows
    assert read_sweep(tmp_path.as_uri()).path == tmp_path.as_uri()


def test_a_relative_path_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(write_order(tmp_path / "mine"))
    assert read_sweep(".").name == "mine"


def test_rows_that_only_the_checkpoint_has_are_not_lost(killed: dict[tuple[str, int], Run]):
    run = killed["CartPole-v1", 0]
    assert [row["progress"] for row in run.rows] == [*range(EVERY, LENGTH + 1, EVERY)]
    assert [row["attempt"] for row in run.rows] == ["a"] * 6 + ["b"] * 4


def test_rows_that_an_attempt_repeats_are_read_once(killed: dict[tuple[str, int], Run]):
    run = killed["CartPole-v1", 1]
    assert [row["progress"] for row in run.rows] == [*range(EVERY, LENGTH + 1, EVERY)]
    assert [row["attempt"] for row in run.rows] == ["a"] * 5 + ["b"] * 4 + ["c"]


def test_the_folder_is_that_of_the_last_part(killed: dict[tuple[str, int], Run], tmp_path: Path):
    assert killed["CartPole-v1", 1].folder == str(tmp_path / "part_03" / "CartPole-v1-seed-1")


def test_an_error_is_told_by_its_last_line(killed: dict[tuple[str, int], Run]):
    assert killed["Acrobot-v1", 0].error == "RuntimeError: no luck"


def test_an_error_that_a_later_part_mended_is_not_told(killed: dict[tuple[str, int], Run]):
    assert killed["CartPole-v1", 1].error is None


def test_an_error_that_tune_itself_mended_is_not_told(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE), error="ValueError: once")
    assert only_run(tmp_path).error is None


def test_a_trial_that_failed_before_its_first_row_is_there(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, [], error="ValueError: at once")
    (trial / "result.json").unlink()
    run = only_run(tmp_path)
    assert (run.game, run.rows, run.error) == ("CartPole-v1", [], "ValueError: at once")


def test_a_checkpoint_that_lacks_the_end_of_a_file_does_not_count(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 30))
    write_checkpoint(trial, 0, rows(CARTPOLE, 50), is_whole=False)
    assert only_run(tmp_path).rows == rows(CARTPOLE, 30)


@pytest.mark.parametrize("gone", ["manifest.json", "rows.jsonl", "agent/weights.pt"])
def test_a_checkpoint_that_lacks_a_file_does_not_count(tmp_path: Path, gone: str):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 30))
    (write_checkpoint(trial, 0, rows(CARTPOLE, 50)) / gone).unlink()
    assert only_run(tmp_path).rows == rows(CARTPOLE, 30)


def test_rows_are_read_from_the_checkpoint_alone(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, [])
    write_checkpoint(trial, 0, rows(CARTPOLE, 50))
    (trial / "result.json").unlink()
    assert only_run(tmp_path).rows == rows(CARTPOLE, 50)


@pytest.mark.parametrize("lost", ["", '{"game": "CartPole-v1", "seed'])
def test_a_trial_is_known_by_its_folder_without_its_parameters(tmp_path: Path, lost: str):
    trial = write_attempt(write_order(tmp_path), TrialSpec(game="Acrobot-v1", seed=1), [])
    (trial / "params.json").write_text(lost)
    assert (only_run(tmp_path).game, only_run(tmp_path).seed) == ("Acrobot-v1", 1)


def test_a_sample_is_known_by_its_rows_without_its_parameters(tmp_path: Path):
    spec = TrialSpec(game="CartPole-v1", seed=4, settings={"lr": 0.5})
    trial = write_attempt(write_order(tmp_path), spec, rows(spec))
    (trial / "params.json").unlink()
    assert (only_run(tmp_path).sample, only_run(tmp_path).seed) == (spec.sample, 4)


def test_settings_that_a_search_chose_are_told(tmp_path: Path):
    runs = read_sweep(write_search(tmp_path)).runs
    assert {run.settings["lr"] for run in runs} == {*LEARNING_RATES, 0.03}
    assert {run.sample for run in runs} == {
        TrialSpec(game="", seed=0, settings={"lr": lr}).sample for lr in (*LEARNING_RATES, 0.03)
    }


def test_other_folders_and_files_are_passed_over(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE))
    shutil.copytree(tmp_path / "part_01", tmp_path / "part_of_it")
    (tmp_path / "part_01" / "tuner.pkl").touch()
    (tmp_path / "part_01" / "driver_artifacts").mkdir()
    (tmp_path / "report").mkdir()
    assert only_run(tmp_path).folder.endswith("part_01/CartPole-v1-seed-0")


def test_parts_are_read_in_order_of_their_numbers(tmp_path: Path):
    folder = write_order(tmp_path)
    write_attempt(folder, CARTPOLE, rows(CARTPOLE, 30), part=99)
    write_attempt(
        folder, CARTPOLE, rows(CARTPOLE, 50, since=20, attempt="b", resumed_at=20), part=100
    )
    assert [row["attempt"] for row in only_run(folder).rows] == ["a"] * 2 + ["b"] * 3


def test_runs_are_in_the_order_of_the_games_and_seeds(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1", "Acrobot-v1"])
    write_finished(tmp_path, {"Acrobot-v1": [0.0, 0.0], "CartPole-v1": [0.0, 0.0]})
    runs = [(run.game, run.seed) for run in read_sweep(tmp_path).runs]
    assert runs == [("CartPole-v1", 0), ("CartPole-v1", 1), ("Acrobot-v1", 0), ("Acrobot-v1", 1)]


def test_what_is_no_number_is_none():
    text = json.dumps(row(CARTPOLE, 10, total_loss=float("nan"), train_return=float("-inf")))
    assert "NaN" in text
    assert [(row["total_loss"], row["train_return"]) for row in rows_of(text)] == [(None, None)]


def test_lines_that_are_no_rows_are_passed_over():
    good = json.dumps(row(CARTPOLE, 10))
    assert rows_of(f"\n[1]\n7\n{good}\n{{}}\n{good[:40]}") == [row(CARTPOLE, 10)]


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"must hold sweep\.yaml, got .*; give the folder"):
        read_sweep(tmp_path)
    with pytest.raises(CheckpointError, match="no sweep is there"):
        read_sweep(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="no sweep is there"):
        read_sweep(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "[1, 2]", "games: [", "format: 1"])
def test_another_text_in_place_of_the_order_is_refused(tmp_path: Path, text: str):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(CheckpointError, match="must hold format, suite, games and seeds"):
        read_sweep(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"must be of format 1, got 2 .*newer one"):
        read_sweep(write_order(tmp_path, format=2))


def test_a_uri_that_nothing_opens_is_refused_without_its_key():
    with pytest.raises(SettingError, match="sweep must be a local folder or a URI") as caught:
        read_sweep("ftp://me:secret@host/sweep")
    assert "secret" not in str(caught.value)


def test_a_custom_suite_keeps_the_constants_its_games_have_elsewhere(tmp_path: Path):
    games = ["Pong", "CartPole-v1", "my_package:Maze-v0"]
    suite = read_sweep(write_order(tmp_path, suite="custom", games=games)).suite
    assert [game.name for game in suite.games] == games
    assert suite.normalise("Pong", suite.find("Pong").reference) == 1.0
    assert suite.normalise("my_package:Maze-v0", 1.0) is None


def test_a_suite_of_ones_own_is_read_from_its_file(tmp_path: Path):
    game = {"name": "Maze", "env": "maze", "random": 0.0, "reference": 10.0}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"games": [game]}))
    write_order(tmp_path / "sweep", suite=str(tmp_path / "my.yaml"), games=["Maze"])
    assert read_sweep(tmp_path / "sweep").suite.normalise("Maze", 5.0) == 0.5


def test_what_was_taken_back_is_not_read_though_the_rows_that_say_so_are_lost(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 90))
    write_checkpoint(trial, 0, rows(CARTPOLE, 30))
    again = [*rows(CARTPOLE, 30), *rows(CARTPOLE, 50, since=30, attempt="b", resumed_at=30)]
    write_checkpoint(write_attempt(tmp_path, CARTPOLE, [], part=2), 0, again)
    assert only_run(tmp_path).rows == again


def test_what_was_begun_anew_is_not_read_though_the_rows_that_say_so_are_lost(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 90))
    again = rows(CARTPOLE, 50, attempt="b")
    write_checkpoint(write_attempt(tmp_path, CARTPOLE, [], part=2), 0, again)
    assert only_run(tmp_path).rows == again


def test_a_trial_that_went_on_from_an_older_checkpoint_has_no_row_twice(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 70))
    write_checkpoint(trial, 0, rows(CARTPOLE, 30))
    write_checkpoint(trial, 1, rows(CARTPOLE, 60))
    write_attempt(tmp_path, CARTPOLE, rows(CARTPOLE, since=30, attempt="b", resumed_at=30), part=2)
    progress = [row["progress"] for row in only_run(tmp_path).rows]
    assert progress == [*range(EVERY, LENGTH + 1, EVERY)]

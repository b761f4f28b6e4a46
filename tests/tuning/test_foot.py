from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tuning.sweeps import (
    CARTPOLE,
    row,
    rows,
    write_attempt,
    write_checkpoint,
    write_order,
)
from tuning.reading import read_sweep
from tuning.report.foot import foot_of, in_words, protocols_of, runs_in_words
from tuning.report.model import Made, Run

XEON = {"processor": "Xeon", "cpus": 8, "gpu": None, "torch": "2.9", "commit": "abc1234"}


def entry(resumed_at: int = 0, config_hash: str = "0123456789ab", **machine: Any) -> dict[str, Any]:
    return {"resumed_at": resumed_at, "config_hash": config_hash, **(XEON | machine)}


def run(game: str, seed: int, *machines: dict[str, Any], seconds: float = 10.0) -> Run:
    last = row(CARTPOLE, 100, seconds=seconds)
    return Run(
        game=game, seed=seed, sample="", settings={}, folder="x", rows=[last],
        machines=list(machines),
    )  # fmt: skip


def test_runs_that_were_made_alike_share_a_line():
    foot = foot_of([run("Pong", 0, entry()), run("Pong", 1, entry(), seconds=20.0)])
    assert foot.machines == ["Xeon, 8 cores; torch 2.9"]
    (line,) = foot.lines
    assert line == Made(
        runs=[("Pong", 0), ("Pong", 1)],
        seconds=(13.0, 23.0),
        machines=(1,),
        commits=("abc1234",),
        config_hashes=("0123456789ab",),
    )


def test_another_commit_hash_or_machine_is_another_line():
    others = [entry(commit="def5678"), entry(config_hash="ba9876543210"), entry(gpu="H200")]
    foot = foot_of([run("Pong", seed, one) for seed, one in enumerate([entry(), *others])])
    assert [line.machines for line in foot.lines] == [(1,), (1,), (1,), (2,)]
    assert foot.machines[1] == "Xeon, 8 cores, H200; torch 2.9"


def test_a_run_that_moved_names_all_its_machines_and_commits():
    moved = run("Pong", 0, entry(), entry(50, gpu="H200", commit="def5678"), entry(70))
    (line,) = foot_of([moved]).lines
    assert (line.machines, line.commits) == ((1, 2), ("abc1234", "def5678"))


def test_runs_of_older_versions_have_a_wall_clock_alone():
    (line,) = foot_of([run("Pong", 0), run("Boxing", 0)]).lines
    assert (line.seconds, line.machines, line.commits) == ((13.0, 13.0), (), ())
    assert runs_in_words(line) == "2 runs of 2 games"


def test_unfinished_runs_are_not_in_the_foot(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 50))
    assert foot_of(read_sweep(tmp_path).runs).lines == []


def test_runs_of_one_game_are_named_by_their_seeds():
    (line,) = foot_of([run("Pong", 0), run("Pong", 2)]).lines
    assert runs_in_words(line) == "Pong seeds 0, 2"
    (line,) = foot_of([run("Pong", 0)]).lines
    assert runs_in_words(line) == "Pong seed 0"


def test_machines_are_those_of_the_newest_whole_checkpoint(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE))
    write_checkpoint(trial, 1, rows(CARTPOLE, 60), machines=[entry()])
    both = [entry(), entry(60)]
    write_checkpoint(trial, 2, rows(CARTPOLE), machines=both)
    write_checkpoint(trial, 3, rows(CARTPOLE), machines=[entry(9)], is_whole=False)
    (found,) = (run for run in read_sweep(tmp_path).runs if run.rows)
    assert found.machines == both


def test_games_that_are_scored_otherwise_have_sentences_of_their_own(tmp_path: Path):
    plans = {
        "Pong": {"env": "pong", "settings": {"evaluation_duration": 32}},
        "Boxing": {"env": "boxing", "settings": {"evaluation_duration": 32}},
        "Cart": {"env": "CartPole-v1", "settings": {"evaluation_duration": 20}},
    }
    games = ["Pong", "Cart", "Boxing"]
    sweep = read_sweep(write_order(tmp_path, suite="custom", games=games, plans=plans))
    protocols = protocols_of(sweep, games, {})
    assert list(protocols.values()) == [["Pong", "Boxing"], ["Cart"]]
    words = in_words(protocols, sweep.order)
    assert words.startswith("Pong, Boxing: A score is the mean raw return of 32 whole games")
    assert "Cart: A score is the mean raw return of 20 whole episodes" in words


def test_what_a_search_chose_is_scored_by_its_own_settings(tmp_path: Path):
    sweep = read_sweep(write_order(tmp_path, games=["CartPole-v1"]))
    (protocol,) = protocols_of(sweep, ["CartPole-v1"], {"num_simulations": 3})
    assert (protocol.episodes, protocol.num_simulations) == (5, 3)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tuning.sweeps import (
    CARTPOLE,
    LEARNING_RATES,
    LENGTH,
    row,
    rows,
    write_attempt,
    write_finished,
    write_killed,
    write_order,
    write_search,
)
from tuning.reading import STOPPED, read_sweep
from tuning.report.model import Report, SweepScores
from tuning.report.scores import build_report, over_training
from tuning.specs import TrialSpec
from tuning.statistics import AGGREGATES, improvement_interval, intervals
from tuning.suites import load_suite

QUICK = {"num_resamples": 50}


def report_on(*folders: Path, **options: Any) -> Report:
    return build_report([read_sweep(folder) for folder in folders], **QUICK | options)


def scores_of(folder: Path) -> SweepScores:
    (sweep,) = report_on(folder).sweeps
    return sweep


def notes_of(folder: Path) -> list[str]:
    return scores_of(folder).notes


def two_seeds(folder: Path, **changes: Any) -> Path:
    write_order(folder, **changes)
    return write_finished(folder, {"CartPole-v1": [100.0, 200.0], "Acrobot-v1": [-300.0, -100.0]})


def test_a_game_has_its_seeds_scores_their_mean_and_spread(tmp_path: Path):
    game = scores_of(two_seeds(tmp_path)).games[0]
    assert (game.game, game.scores, game.mean) == ("CartPole-v1", {0: 100.0, 1: 200.0}, 150.0)
    assert game.std == pytest.approx(70.71068)  # sqrt((50**2 + 50**2) / 1)
    assert (game.random, game.reference) == (22.65, 475.0)
    assert game.normalised == pytest.approx((150 - 22.65) / (475 - 22.65))


def test_one_seed_has_no_spread(tmp_path: Path):
    write_finished(write_order(tmp_path), {"CartPole-v1": [100.0]})
    assert scores_of(tmp_path).games[0].std is None


def test_games_are_in_the_order_in_which_they_were_ordered_and_all_are_there(tmp_path: Path):
    write_finished(write_order(tmp_path, games=["Acrobot-v1", "CartPole-v1"]), {"CartPole-v1": [9]})
    assert [(game.game, game.mean) for game in scores_of(tmp_path).games] == [
        ("Acrobot-v1", None),
        ("CartPole-v1", 9.0),
    ]


def test_aggregates_and_intervals_are_those_of_the_statistics(tmp_path: Path):
    found = scores_of(two_seeds(tmp_path)).aggregates
    cartpole, acrobot = np.array([100.0, 200.0]), np.array([-300.0, -100.0])
    scores = {
        "CartPole-v1": (cartpole - 22.65) / (475 - 22.65),
        "Acrobot-v1": (acrobot + 498.59) / (-100 + 498.59),
    }
    spans = intervals(scores, num_resamples=50, seed=0)
    assert {n: one.value for n, one in found.items()} == {
        name: pytest.approx(statistic(scores)) for name, statistic in AGGREGATES.items()
    }
    assert {n: (one.low, one.high) for n, one in found.items()} == spans


def test_the_seed_and_number_of_resamples_reach_the_intervals(tmp_path: Path):
    scores = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    write_finished(write_order(tmp_path), {"CartPole-v1": scores})
    spans = [
        report_on(tmp_path, seed=seed, num_resamples=count).sweeps[0].aggregates["mean"].low
        for seed, count in ((0, 5), (1, 5), (0, 50))
    ]
    assert len(set(spans)) == 3


def test_without_two_runs_of_any_game_there_are_no_intervals(tmp_path: Path):
    write_finished(write_order(tmp_path), {"CartPole-v1": [100.0], "Acrobot-v1": [-100.0]})
    mean = scores_of(tmp_path).aggregates["mean"]
    assert (mean.low, mean.high) == (None, None)
    assert "no intervals: they need a game with two finished runs" in notes_of(tmp_path)


def test_a_sweep_without_a_finished_run_has_no_aggregates(tmp_path: Path):
    write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 50))
    sweep = scores_of(tmp_path)
    assert (sweep.aggregates, sweep.seconds, sweep.games[0].mean) == ({}, {}, None)


def test_every_run_that_is_left_out_is_named(tmp_path: Path):
    write_killed(tmp_path)
    unfinished = TrialSpec(game="Acrobot-v1", seed=1)
    write_attempt(tmp_path, unfinished, rows(unfinished, 40))
    write_order(tmp_path, seeds=[0, 1, 2])
    assert notes_of(tmp_path)[:3] == [
        "failed: Acrobot-v1 seed 0 (at 30 of 100): RuntimeError: no luck",
        "unfinished: Acrobot-v1 seed 1 (at 40 of 100)",
        "not begun: CartPole-v1 seed 2, Acrobot-v1 seed 2",
    ]


def test_a_run_that_a_scheduler_gave_up_is_named(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"], seeds=[0])
    (write_attempt(tmp_path, CARTPOLE, rows(CARTPOLE, 40)) / STOPPED).touch()
    assert notes_of(tmp_path) == ["given up by the search: CartPole-v1 seed 0 (at 40 of 100)"]


def test_a_finished_run_without_an_evaluation_is_named_and_not_scored(tmp_path: Path):
    blind = [row(CARTPOLE, LENGTH, evaluation_return=None)]
    write_attempt(write_order(tmp_path, games=["CartPole-v1"], seeds=[0]), CARTPOLE, blind)
    assert notes_of(tmp_path) == ["finished without an evaluation: CartPole-v1 seed 0"]
    assert scores_of(tmp_path).games[0].scores == {}


def test_a_run_that_reported_nothing_is_named(tmp_path: Path):
    write_order(tmp_path, games=["CartPole-v1"], seeds=[0])
    write_attempt(tmp_path, CARTPOLE, [], error="ValueError: at once")
    told = "failed: CartPole-v1 seed 0 (nothing reported): ValueError: at once"
    assert notes_of(tmp_path) == [told]


def test_a_sweep_of_which_all_is_there_needs_no_notes(tmp_path: Path):
    assert notes_of(two_seeds(tmp_path)) == []


def test_the_best_sample_is_the_best_of_those_whose_runs_are_all_finished(tmp_path: Path):
    sweep = scores_of(write_search(tmp_path))
    rates = [sample.settings["lr"] for sample in sweep.samples]
    assert rates == [LEARNING_RATES[1], LEARNING_RATES[0], 0.03]
    assert [(one.num_finished, one.num_runs) for one in sweep.samples] == [(2, 2), (2, 2), (1, 2)]
    assert sweep.samples[2].normalised > sweep.samples[0].normalised  # of half the games
    assert sweep.best_sample == sweep.samples[0].sample


def test_games_are_those_of_the_best_sample(tmp_path: Path):
    sweep = scores_of(write_search(tmp_path))
    assert [game.scores for game in sweep.games] == [{0: 200.0}, {0: -300.0}]
    assert (len(sweep.runs), len(sweep.shown_runs)) == (5, 2)


def test_a_samples_value_is_the_mean_over_games_of_the_mean_over_seeds(tmp_path: Path):
    write_order(tmp_path, search={"method": "random"})
    write_finished(tmp_path, {"CartPole-v1": [100.0, 200.0], "Acrobot-v1": [-100.0]}, lr=0.1)
    (sample,) = scores_of(tmp_path).samples
    assert sample.normalised == pytest.approx(((150 - 22.65) / (475 - 22.65) + 1) / 2)


def test_what_a_search_left_out_is_named_with_its_sample(tmp_path: Path):
    sweep = scores_of(write_search(tmp_path))
    assert f"not begun: Acrobot-v1 seed 0 sample {sweep.samples[2].sample}" in sweep.notes
    assert any("new runs of it may well score less" in note for note in sweep.notes)


def test_without_constants_samples_are_ranked_by_returns_and_a_note_says_so(tmp_path: Path):
    write_order(tmp_path, suite="custom", games=["Maze-v0"], seeds=[0], search={"method": "grid"})
    for rate, score in ((0.1, 5.0), (0.2, 7.0), (0.3, 6.0)):
        write_finished(tmp_path, {"Maze-v0": [score]}, lr=rate)
    sweep = scores_of(tmp_path)
    assert [sample.settings["lr"] for sample in sweep.samples] == [0.2, 0.3, 0.1]
    assert [sample.normalised for sample in sweep.samples] == [None] * 3
    assert "samples are ranked by raw returns: no game has reference scores" in sweep.notes


def test_a_game_without_constants_is_scored_but_not_normalised(tmp_path: Path):
    games = ["CartPole-v1", "Maze-v0"]
    write_order(tmp_path, suite="custom", games=games, seeds=[0])
    write_finished(tmp_path, {"CartPole-v1": [475.0], "Maze-v0": [3.0]})
    sweep = scores_of(tmp_path)
    assert (sweep.games[1].mean, sweep.games[1].normalised) == (3.0, None)
    assert sweep.aggregates["mean"].value == 1.0
    assert "not normalised, for want of a random and a reference score: Maze-v0" in sweep.notes


def test_sweeps_are_compared_on_the_games_of_both(tmp_path: Path):
    first = two_seeds(tmp_path / "first")
    second = write_finished(write_order(tmp_path / "second"), {"CartPole-v1": [150.0, 100.0]})
    (found,) = report_on(first, second).comparisons
    ours, theirs = {"g": np.array([100.0, 200.0])}, {"g": np.array([150.0, 100.0])}
    span = improvement_interval(ours, theirs, num_resamples=50, seed=0)
    assert (found.first, found.second) == ("first", "second")
    assert found.per_game == {"CartPole-v1": 0.625}  # 100: half of one; 200: both
    assert found.probability.value == 0.625
    assert (found.probability.low, found.probability.high) == span


def test_every_pair_of_sweeps_is_compared(tmp_path: Path):
    folders = [two_seeds(tmp_path / name) for name in "abc"]
    pairs = [(one.first, one.second) for one in report_on(*folders).comparisons]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]


def test_sweeps_without_a_game_in_common_are_not_compared(tmp_path: Path):
    first = write_finished(write_order(tmp_path / "a"), {"CartPole-v1": [1.0]})
    second = write_finished(write_order(tmp_path / "b"), {"Acrobot-v1": [1.0]})
    assert report_on(first, second).comparisons == []


def test_sweeps_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path):
    folders = [two_seeds(tmp_path / name / "sweep") for name in ("a", "b")]
    names = [sweep.name for sweep in report_on(*folders).sweeps]
    assert names == [str(folder) for folder in folders]


def test_published_columns_come_to_what_papers_say_over_all_26_games(tmp_path: Path):
    names = [game.name for game in load_suite("atari100k").games]
    published = report_on(write_order(tmp_path, suite="atari100k", games=names)).published
    found = {
        column: (round(estimates["mean"].value, 4), round(estimates["median"].value, 4))
        for column, estimates in published.items()
    }
    assert found["efficientzero"] == (1.9426, 1.0902)
    assert found["bbf"] == (2.2474, 0.9171)


def test_published_columns_are_over_the_games_that_a_sweep_has_scores_for(tmp_path: Path):
    write_order(tmp_path, suite="atari57", games=["Pong", "Breakout", "Surround"], seeds=[0])
    write_finished(tmp_path, {"Pong": [1.0], "Surround": [1.0]})
    found = report_on(tmp_path).published["efficientzero"]
    assert found["mean"].value == pytest.approx((20.1 + 20.7) / (14.6 + 20.7))


def test_a_sweep_over_other_games_than_the_published_columns_says_so(tmp_path: Path):
    write_order(tmp_path, suite="atari57", games=["Pong", "Surround"], seeds=[0])
    write_finished(tmp_path, {"Pong": [1.0], "Surround": [1.0]})
    assert "aggregates of published columns are over other games, 1 of them" in notes_of(tmp_path)


def test_a_mean_a_game_tells_no_statistic_over_runs(tmp_path: Path):
    published = report_on(write_order(tmp_path, suite="atari57", games=["Pong"])).published
    assert {frozenset(found) for found in published.values()} == {frozenset({"mean", "median"})}


def test_seconds_are_means_over_finished_runs(tmp_path: Path):
    write_order(tmp_path, seeds=[0, 1, 2])
    for seed, seconds in ((0, 10.0), (1, 30.0)):
        spec = TrialSpec(game="CartPole-v1", seed=seed)
        write_attempt(tmp_path, spec, [row(spec, LENGTH, seconds=seconds, setup_seconds=5.0)])
    unfinished = TrialSpec(game="CartPole-v1", seed=2)
    write_attempt(tmp_path, unfinished, [row(unfinished, 50, seconds=1e6)])
    told = scores_of(tmp_path).seconds
    assert (told["seconds"], told["setup_seconds"], told["training_seconds"]) == (20.0, 5.0, 5.0)
    assert over_training(told) == (20 + 5) / 5


@pytest.mark.parametrize("seconds", [{}, {"seconds": 1.0}, {"seconds": 1.0, "training_seconds": 0}])
def test_without_training_there_is_no_ratio(seconds: dict[str, float]):
    assert over_training(seconds) is None


def test_the_sweep_says_how_it_was_made(tmp_path: Path):
    sweep = scores_of(two_seeds(tmp_path, presets=["control", "fast"]))
    assert (sweep.preset, sweep.env_steps) == ("control + fast", "100")
    assert sweep.protocol == (
        "A score is the mean raw return of 5 whole episodes played by the final weights: the "
        "greedy action of a search, no noise, episodes drawn from each run's own seed. Runs train "
        "for 100 env steps."
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plans": {"a": {"env_steps": 20_000}, "b": {"env_steps": 5000}}}, "5,000 to 20,000"),
        ({"plans": {}, "env_steps": 30_000}, "30,000"),
        ({"plans": None, "env_steps": None}, "?"),
    ],
)
def test_env_steps_are_those_of_the_plans(tmp_path: Path, changes: dict[str, Any], told: str):
    assert scores_of(write_order(tmp_path, **changes)).env_steps == told


def test_games_of_different_presets_tell_both(tmp_path: Path):
    plans = {"CartPole-v1": {"presets": ["control"]}, "Acrobot-v1": {"presets": []}}
    assert scores_of(write_order(tmp_path, plans=plans)).preset == "control, none"


def test_the_report_tells_suites_sources_and_versions(tmp_path: Path):
    pong = write_order(tmp_path / "pong", suite="atari57", games=["Pong"])
    report = report_on(write_order(tmp_path / "small"), pong)
    assert report.suite == "classic, atari57"
    assert report.title == "classic, atari57: small, pong"
    assert report.reference_name == "reward threshold of Gymnasium or human"
    assert set(report.sources) > set(load_suite("classic").sources)
    assert "rllib_ez" in report.made

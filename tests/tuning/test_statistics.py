"""Statistics of many runs: by hand, against a slow twin, against scipy, against papers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.tuning.slow_statistics import TWINS, slow_improvement, slow_interval
from tuning.statistics import (
    AGGREGATES,
    Scores,
    improvement_interval,
    intervals,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from tuning.suites import load_suite

HAND = {"a": np.array([0.0, 1.0]), "b": np.array([2.0, 4.0]), "c": np.array([0.5, 0.5])}


def drawn(games: int, runs: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {str(game): rng.normal(game, 1.0, runs) for game in range(games)}


def published(column: str) -> dict[str, np.ndarray]:
    suite = load_suite("atari100k")
    return {
        game: np.array([suite.normalise(game, score)])
        for game, score in suite.published[column].items()
    }


def quarters() -> st.SearchStrategy[float]:
    """Few values, so that runs are often equal; a quarter is exact in binary."""
    return st.integers(-8, 12).map(lambda value: value / 4)


def any_scores(games: tuple[str, ...] = ("a", "b", "c", "d")) -> st.SearchStrategy[Scores]:
    runs = st.lists(quarters(), min_size=1, max_size=5).map(np.array)
    return st.fixed_dictionaries({games[0]: runs}, optional=dict.fromkeys(games[1:], runs))


def test_the_mean_is_of_the_games_means():
    assert mean(HAND) == pytest.approx((0.5 + 3.0 + 0.5) / 3)


def test_the_median_is_of_the_games_means():
    assert median(HAND) == 0.5


def test_the_median_of_two_games_lies_between_them():
    assert median({"a": np.array([0.0]), "b": np.array([3.0])}) == 1.5


def test_iqm_leaves_out_the_best_and_worst_quarter_of_all_runs():
    # 0, .5, .5, 1, 2, 4: one of six goes at either end.
    assert iqm(HAND) == pytest.approx((0.5 + 0.5 + 1.0 + 2.0) / 4)


def test_a_run_above_the_reference_closes_no_other_runs_gap():
    assert optimality_gap(HAND) == pytest.approx((1.0 + 0.0 + 0.0 + 0.0 + 0.5 + 0.5) / 6)


def test_mean_weighs_games_alike_and_iqm_weighs_runs_alike():
    scores = {"a": np.zeros(6), "b": np.ones(2)}
    assert (mean(scores), iqm(scores)) == (0.5, 0.0)


def test_aggregates_are_named_as_reports_name_them():
    assert AGGREGATES == {
        "mean": mean, "median": median, "iqm": iqm, "optimality_gap": optimality_gap
    }  # fmt: skip


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_is_a_float(name: str):
    assert isinstance(AGGREGATES[name](HAND), float)


@pytest.mark.parametrize("name", AGGREGATES)
@settings(max_examples=100, deadline=None)
@given(scores=any_scores())
def test_an_aggregate_equals_its_slow_twin(name: str, scores: Scores):
    assert AGGREGATES[name](scores) == pytest.approx(TWINS[name](scores), abs=1e-12)


@pytest.mark.parametrize("name", AGGREGATES)
def test_many_resamples_at_once_are_each_summed_up_alone(name: str):
    rng = np.random.default_rng(0)
    scores = {"a": rng.normal(size=(7, 3)), "b": rng.normal(size=(7, 5))}
    alone = [TWINS[name]({game: runs[row] for game, runs in scores.items()}) for row in range(7)]
    np.testing.assert_allclose(AGGREGATES[name](scores), alone)


@settings(max_examples=100, deadline=None)
@given(scores=any_scores())
def test_iqm_is_scipys_trimmed_mean(scores: Scores):
    assert iqm(scores) == pytest.approx(
        stats.trim_mean(np.concatenate(list(scores.values())), 0.25), abs=1e-12
    )


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("efficientzero", (1.9426, 1.0902)),
        ("bbf", (2.2474, 0.9171)),
        ("simple", (0.4427, 0.1436)),
        ("diamond", (1.4591, 0.3734)),
    ],
)
def test_a_published_column_comes_to_its_mean_and_median(
    column: str, expected: tuple[float, float]
):
    scores = published(column)
    assert (round(mean(scores), 4), round(median(scores), 4)) == expected


def test_bbfs_published_games_come_to_their_iqm():
    assert round(iqm(published("bbf")), 3) == 1.139


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_interval_agrees_with_a_slow_bootstrap(name: str):
    scores = {"a": drawn(1, 8)["0"], "b": drawn(1, 5, seed=1)["0"] * 3.0}
    found = intervals(scores, num_resamples=20_000)[name]
    low, high = slow_interval(scores, TWINS[name])
    np.testing.assert_allclose(found, (low, high), atol=0.12 * (high - low))


def test_the_mean_of_one_game_has_scipys_interval():
    runs = drawn(1, 20)["0"]
    theirs = stats.bootstrap(
        (runs,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    ours = intervals({"a": runs}, num_resamples=20_000)["mean"]
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_games_are_resampled_each_by_itself():
    scores = {"a": np.full(4, -7.0), "b": np.full(4, 9.0)}
    assert intervals(scores, {"mean": mean}) == {"mean": (1.0, 1.0)}


def test_an_interval_of_95_percent_holds_the_truth_about_so_often():
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        scores = {str(game): rng.normal(game, 1.0, 25) for game in range(4)}
        low, high = intervals(scores, {"mean": mean}, num_resamples=400, seed=1)["mean"]
        held += low <= 1.5 <= high
    # Percentiles hold the mean of 4 x 25 normal runs 94 % of the time; three standard errors.
    assert 0.9175 <= held / 1000 <= 0.9625


def test_more_confidence_makes_a_wider_interval():
    sure = intervals(HAND, confidence=0.99)["mean"]
    less = intervals(HAND, confidence=0.5)["mean"]
    assert sure[0] < less[0] < less[1] < sure[1]


def test_intervals_are_of_the_statistics_asked_for():
    assert set(intervals(HAND, {"middle": median})) == {"middle"}


def test_the_same_seed_gives_the_same_intervals():
    assert intervals(HAND, seed=3) == intervals(HAND, seed=3)


def test_another_seed_gives_other_intervals():
    scores = drawn(3, 10)
    assert intervals(scores, seed=3) != intervals(scores, seed=4)


def test_the_order_of_the_games_changes_no_interval():
    scores = drawn(3, 10)
    assert intervals(dict(reversed(scores.items()))) == intervals(scores)


def test_one_run_a_game_gives_no_intervals():
    assert intervals({"a": np.ones(1), "b": np.ones(1)}) is None


def test_one_game_with_two_runs_is_enough_for_intervals():
    found = intervals({"a": np.array([0.0, 1.0]), "b": np.ones(1)}, {"mean": mean})
    assert found == {"mean": (0.5, 1.0)}


def test_improvement_counts_pairs_and_halves_of_equal_ones():
    first = {"a": np.array([1.0, 3.0]), "b": np.array([0.0])}
    second = {"a": np.array([1.0, 2.0]), "b": np.array([5.0])}
    # a: 1 = 1, 1 < 2, 3 > 1, 3 > 2
    assert probability_of_improvement(first, second) == (0.3125, {"a": 0.625, "b": 0.0})


def test_improvement_looks_at_shared_games_alone():
    first = {"a": np.ones(2), "b": np.ones(2)}
    second = {"a": np.zeros(2), "c": np.full(2, 9.0)}
    assert probability_of_improvement(first, second) == (1.0, {"a": 1.0})


@settings(max_examples=100, deadline=None)
@given(first=any_scores(("a",)), second=any_scores(("a",)))
def test_improvement_on_a_game_is_mann_and_whitneys_u(first: Scores, second: Scores):
    x, y = first["a"], second["a"]
    expected = stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert probability_of_improvement(first, second)[1]["a"] == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(st.tuples(any_scores(("a",)), any_scores(("a",))), min_size=1, max_size=4))
def test_improvement_equals_its_slow_twin(pairs: list[tuple[Scores, Scores]]):
    first = {str(game): pair[0]["a"] for game, pair in enumerate(pairs)}
    second = {str(game): pair[1]["a"] for game, pair in enumerate(pairs)}
    expected = slow_improvement(first, second)
    assert probability_of_improvement(first, second)[0] == pytest.approx(expected)


def test_improvements_interval_agrees_with_a_slow_bootstrap():
    first, second = drawn(2, 6), drawn(2, 4, seed=1)
    both = {("x", g): r for g, r in first.items()} | {("y", g): r for g, r in second.items()}
    low, high = slow_interval(
        both,
        lambda drawn: slow_improvement(
            {g: r for (side, g), r in drawn.items() if side == "x"},
            {g: r for (side, g), r in drawn.items() if side == "y"},
        ),
    )
    found = improvement_interval(first, second, num_resamples=20_000)
    np.testing.assert_allclose(found, (low, high), atol=0.04)


def test_improvements_interval_is_the_same_for_a_seed():
    first, second = drawn(3, 5), drawn(3, 5, seed=1)
    assert improvement_interval(first, second, seed=1) == improvement_interval(
        first, second, seed=1
    )


def test_one_run_a_side_gives_improvement_no_interval():
    assert improvement_interval({"a": np.ones(1)}, {"a": np.zeros(1)}) is None


def test_runs_of_a_game_that_is_not_shared_give_improvement_no_interval():
    first = {"a": np.ones(1), "b": np.ones(5)}
    assert improvement_interval(first, {"a": np.zeros(1)}) is None


def test_two_runs_on_one_side_are_enough_for_improvements_interval():
    assert improvement_interval({"a": np.array([0.0, 2.0])}, {"a": np.ones(1)}) == (0.0, 1.0)


def test_a_profile_tells_how_many_runs_score_more():
    thresholds = np.array([-1.0, 0.5, 3.0, 4.0])
    np.testing.assert_allclose(performance_profile(HAND, thresholds), [1.0, 3 / 6, 1 / 6, 0.0])


@settings(max_examples=50, deadline=None)
@given(scores=any_scores(), thresholds=st.lists(quarters(), min_size=1))
def test_a_profile_equals_its_slow_twin(scores: Scores, thresholds: list[float]):
    runs = [score for game in scores.values() for score in game]
    expected = [sum(score > t for score in runs) / len(runs) for t in thresholds]
    np.testing.assert_allclose(performance_profile(scores, np.array(thresholds)), expected)

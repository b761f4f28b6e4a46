"""What statistics refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rllib_ez.errors import SettingError
from tuning.statistics import (
    AGGREGATES,
    Scores,
    improvement_interval,
    intervals,
    performance_profile,
    probability_of_improvement,
)

HAND = {"a": np.array([0.0, 1.0]), "b": np.array([2.0, 4.0]), "c": np.array([0.5, 0.5])}

CALLS: list[Callable[[Scores], object]] = [
    *AGGREGATES.values(),
    intervals,
    lambda scores: probability_of_improvement(HAND, scores),
    lambda scores: probability_of_improvement(scores, HAND),
    lambda scores: improvement_interval(HAND, scores),
    lambda scores: performance_profile(scores, np.zeros(1)),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(call: Callable[[Scores], object], bad: float):
    with pytest.raises(ValueError, match=f"scores of b must be finite, got {bad}; leave that run"):
        call({"a": np.ones(2), "b": np.array([1.0, bad])})


@pytest.mark.parametrize("call", CALLS)
def test_a_game_without_runs_is_refused(call: Callable[[Scores], object]):
    with pytest.raises(ValueError, match="scores of b must hold at least one run"):
        call({"a": np.ones(2), "b": np.array([])})


@pytest.mark.parametrize("call", CALLS)
def test_a_score_outside_an_array_is_refused(call: Callable[[Scores], object]):
    with pytest.raises(ValueError, match="scores of b must hold at least one run"):
        call({"a": np.ones(2), "b": np.float64(1.0)})


@pytest.mark.parametrize("call", CALLS)
def test_no_games_are_refused(call: Callable[[Scores], object]):
    with pytest.raises(ValueError, match="scores must hold at least one game"):
        call({})


@pytest.mark.parametrize("call", CALLS[4:])
def test_rows_of_runs_are_refused_where_they_make_no_sense(call: Callable[[Scores], object]):
    with pytest.raises(ValueError, match=r"scores of a must be one number a run.*\(2, 3\)"):
        call({"a": np.ones((2, 3))})


def test_sides_without_a_shared_game_are_refused():
    with pytest.raises(ValueError, match="must share a game, got a and b, c"):
        probability_of_improvement({"a": np.ones(1)}, {"b": np.ones(1), "c": np.ones(1)})


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float):
    with pytest.raises(SettingError, match="confidence must lie between 0 and 1"):
        intervals(HAND, confidence=confidence)


def test_no_resamples_are_refused():
    with pytest.raises(SettingError, match="num_resamples must be >= 1, got 0"):
        improvement_interval(HAND, HAND, num_resamples=0)

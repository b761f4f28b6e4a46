import numpy as np
import pytest

from rllib_ez.envs.guards import check_num_envs, check_playable, check_reset, checked_actions
from rllib_ez.errors import EnvironmentSpecError


def test_no_environments_are_refused():
    with pytest.raises(EnvironmentSpecError, match="num_envs must be >= 1, got 0"):
        check_num_envs(0)


def test_stepping_past_an_end_names_the_environments():
    with pytest.raises(RuntimeError, match=r"environments \[1\] must be reset"):
        check_playable(np.array([False, True]))


def test_a_missing_action_is_refused():
    with pytest.raises(ValueError, match=r"one per environment \(2\), got 1"):
        checked_actions(np.array([0]), 2, 3)


@pytest.mark.parametrize("action", [-1, 3])
def test_an_action_outside_the_space_is_refused(action: int):
    with pytest.raises(ValueError, match=r"actions must be in 0..2, got"):
        checked_actions(np.array([0, action]), 2, 3)


@pytest.mark.parametrize("indices", [[0, 0], [0, 2], [-1, 0]])
def test_doubled_and_unknown_indices_are_refused(indices: list[int]):
    with pytest.raises(ValueError, match="distinct and in 0..1"):
        check_reset(np.array(indices), np.array([1, 2]), 2)


def test_seeds_must_match_the_indices():
    with pytest.raises(ValueError, match=r"one per index \(2\), got 1"):
        check_reset(np.array([0, 1]), np.array([1]), 2)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"seeds must be >= 0, got \[-1\]"):
        check_reset(np.array([0]), np.array([-1]), 2)

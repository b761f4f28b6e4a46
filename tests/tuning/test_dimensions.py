"""One setting's values: what a line allows, and what is drawn from it."""

import pytest

from rllib_ez.errors import SettingError
from tuning.dimensions import parse_dimension

JUST_UNDER_ONE = 1 - 2**-53


def drawn(setting, entry, *, shares=(0.0, 0.5, JUST_UNDER_ONE)):
    dimension = parse_dimension(setting, entry)
    return [dimension.at(share) for share in shares]


def test_a_uniform_range_is_walked_evenly():
    assert drawn("value_weight", {"uniform": [0.2, 0.6]}) == [0.2, 0.4, 0.6]


def test_a_log_uniform_range_is_walked_by_powers():
    assert drawn("learning_rate", {"log_uniform": [1e-4, 1e-2]}) == [1e-4, 1e-3, 1e-2]


def test_both_ends_of_whole_numbers_count_alike():
    thirds = (0.0, 0.33, 0.34, 0.66, 0.67, JUST_UNDER_ONE)
    assert drawn("td_steps", {"int": [3, 5]}, shares=thirds) == [3, 3, 4, 4, 5, 5]


def test_a_log_range_of_whole_numbers_has_both_ends():
    assert drawn("batch_size", {"log_int": [1, 99]}) == [1, 10, 99]


def test_choices_come_alike_and_in_order():
    assert drawn("td_steps", [3, 5, 10]) == [3, 5, 10]


def test_three_significant_digits_are_kept_unless_told():
    assert drawn("learning_rate", {"log_uniform": [1e-4, 1e-3]}, shares=[0.3]) == [0.0002]
    assert drawn("temperature_updates", {"int": [1000, 90000]}, shares=[0.123]) == [11900]


def test_the_digits_can_be_chosen():
    entry = {"log_uniform": [1e-4, 1e-3], "round": 1}
    assert drawn("learning_rate", entry, shares=[0.4]) == [0.0003]


def test_rounding_does_not_leave_the_range():
    entry = {"uniform": [0.94, 0.9964], "round": 1}
    assert drawn("discount", entry, shares=[0.0, JUST_UNDER_ONE]) == [0.94, 0.9964]


def test_a_range_of_whole_numbers_gives_a_fractional_setting_its_type():
    values = drawn("value_range", {"int": [5, 20]})
    assert values == [5.0, 13.0, 20.0]
    assert {type(value) for value in values} == {float}


def test_choices_take_the_setting_s_type():
    dimension = parse_dimension("observation_scale", [None, [1, 2.5]])
    assert dimension.values == (None, (1.0, 2.5))


def test_a_dimension_knows_what_it_holds():
    dimension = parse_dimension("td_steps", {"int": [3, 5]})
    assert [dimension.holds(value) for value in (2, 3, 5, 6, "3")] == [
        False, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (0.1, "must be a list of choices, or {KIND"),
        ({"gauss": [0, 1]}, "must be a list of choices, or {KIND"),
        ({"uniform": [0.1, 1], "int": [1, 2]}, "must be a list of choices, or {KIND"),
        ({"uniform": []}, "must hold a list of values"),
        ({"uniform": [0.1, 0.2, 0.3]}, r"must be \[low, high\]"),
        ({"uniform": [0.2, 0.1]}, "low < high"),
        ({"int": [0.5, 2]}, "whole numbers"),
        ({"uniform": [0.1, 0.2], "round": 0}, "1 to 15 significant digits, got 0"),
        ([0.1, "1e-1"], "every choice once"),
    ],
)
def test_a_malformed_line_is_refused(entry, message):
    with pytest.raises(SettingError, match=f"^learning_rate.*{message}"):
        parse_dimension("learning_rate", entry)


def test_fractions_are_no_range_for_whole_settings():
    with pytest.raises(SettingError, match="td_steps must be a list of choices, int or log_int"):
        parse_dimension("td_steps", {"uniform": [1, 5]})


def test_a_log_range_begins_above_zero():
    with pytest.raises(SettingError, match="value_weight: log_uniform must begin above 0"):
        parse_dimension("value_weight", {"log_uniform": [0.0, 1.0]})

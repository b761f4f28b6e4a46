"""Whether a fuller batch pays."""

from __future__ import annotations

import math

import pytest

from serve.search_times import FORGOTTEN_AFTER, SearchTimes, bucket


def test_a_fixed_cost_is_saved():
    times = SearchTimes()
    times.note(4, 1.0 + 4 * 0.5)
    times.note(8, 1.0 + 8 * 0.5)
    assert times.gain(4, 4) == pytest.approx(1.0)


def test_nothing_is_saved_where_time_grows_with_the_size():
    times = SearchTimes()
    times.note(32, 32 * 0.0055)
    times.note(64, 64 * 0.0059)
    assert times.gain(32, 32) == pytest.approx(-64 * 0.0004)


def test_sizes_alike_share_what_is_known():
    times = SearchTimes()
    times.note(30, 30 * 0.1)
    times.note(62, 62 * 0.05)
    assert times.gain(32, 32) == pytest.approx(2 * 3.2 - 3.2)


def test_an_unknown_whole_is_tried():
    times = SearchTimes()
    times.note(4, 1.0)
    assert times.gain(4, 4) == math.inf


@pytest.mark.parametrize(("first", "second"), [(4, 1), (1, 4), (1, 1)])
def test_unknown_parts_are_tried(first: int, second: int):
    times = SearchTimes()
    times.note(4, 1.0)
    times.note(5, 1.0)
    times.note(2, 1.0)
    assert times.gain(first, second) == 0.0


def test_what_has_not_been_seen_for_long_is_tried_again():
    times = SearchTimes()
    times.note(8, 1.0)
    for _ in range(FORGOTTEN_AFTER - 1):
        times.note(4, 1.0)
    assert times.gain(4, 4) == 1.0
    times.note(4, 1.0)
    assert times.gain(4, 4) == math.inf


def test_new_measurements_count_a_fifth():
    times = SearchTimes()
    times.note(1, 1.0)
    times.note(1, 2.0)
    assert times.each[bucket(1)] == pytest.approx(1.2)


def test_doubled_sizes_are_two_buckets_apart():
    assert [bucket(n) for n in (1, 2, 4, 64)] == [0, 2, 4, 12]

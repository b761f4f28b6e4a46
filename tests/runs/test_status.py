from __future__ import annotations

import pytest

from rllib_ez.runs.status import Rates, RecentReturn, Status, clock_time, number, size


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65, "1:05"), (3_725.4, "1:02:05")])
def test_time_reads_like_a_clock(seconds: float, text: str):
    assert clock_time(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(10, "10 B"), (2048, "2 KiB"), (3 * 2**30, "3.0 GiB")])
def test_bytes_have_a_unit(count: int, text: str):
    assert size(count) == text


def test_nothing_is_a_dash():
    assert number(None) == "-"


def test_a_rate_counts_the_last_half_minute():
    rates = Rates()
    rates.add(0.0, 0, 0)
    rates.add(20.0, 100, 10)
    rates.add(31.0, 210, 32)
    assert rates.add(52.0, 420, 74) == pytest.approx((10.0, 2.0))


def test_a_single_point_has_no_rate():
    assert Rates().add(5.0, 100, 10) == (0.0, 0.0)


def test_recent_return_weighs_rounds_by_their_episodes():
    recent = RecentReturn()
    recent.add(1, 10.0)
    assert recent.add(3, 30.0) == pytest.approx(25.0)


def test_recent_return_forgets_once_ten_episodes_are_newer():
    recent = RecentReturn()
    recent.add(5, 100.0)
    recent.add(9, 10.0)
    assert recent.add(1, 20.0) == pytest.approx(11.0)


def test_recent_return_stays_where_no_episode_ended():
    recent = RecentReturn()
    recent.add(2, 7.0)
    assert recent.add(0, None) == 7.0


def test_a_line_holds_what_matters():
    status = Status("x", 2000, progress=500, updates=9, train_return=12.5, progress_per_second=10)
    assert status.line().startswith("500/2,000 env steps, 9 updates, return 12.5,")
    assert "ETA 2:30" in status.line()


def test_a_run_without_env_steps_counts_updates():
    status = Status("x", 800, "updates", progress=20, updates=20)
    assert status.line().startswith("20/800 updates, 0 env steps,")

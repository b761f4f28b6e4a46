from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.tuning.sweeps import CARTPOLE, row, rows
from tuning.rows import Row, joined


def points(rows: list[Row]) -> list[tuple[str, int]]:
    return [(row["attempt"], row["progress"]) for row in rows]


def attempt(name: str, resumed_at: int, *progress: int) -> list[Row]:
    return [row(CARTPOLE, at, attempt=name, resumed_at=resumed_at) for at in progress]


def test_one_attempt_is_left_as_it_is():
    assert joined(rows(CARTPOLE)) == rows(CARTPOLE)


def test_nothing_joins_to_nothing():
    assert joined([]) == []


def test_what_came_after_the_checkpoint_is_taken_back():
    found = joined(attempt("a", 0, 10, 20, 30) + attempt("b", 10, 15, 25))
    assert points(found) == [("a", 10), ("b", 15), ("b", 25)]


def test_a_row_at_the_checkpoint_stays():
    found = joined(attempt("a", 0, 10, 20) + attempt("b", 20, 30))
    assert points(found) == [("a", 10), ("a", 20), ("b", 30)]


def test_a_trial_that_begins_anew_takes_all_back():
    assert points(joined(attempt("a", 0, 10, 20) + attempt("b", 0, 5))) == [("b", 5)]


def test_a_finished_trial_that_is_looked_at_again_has_its_last_row_once():
    found = joined(attempt("a", 0, 50, 100) + attempt("b", 100, 100))
    assert points(found) == [("a", 50), ("b", 100)]


def test_an_older_checkpoint_takes_back_two_attempts():
    found = joined(attempt("a", 0, 10, 20) + attempt("b", 20, 30) + attempt("c", 10, 12))
    assert points(found) == [("a", 10), ("c", 12)]


def test_a_row_that_is_written_twice_is_read_once():
    assert points(joined(attempt("a", 0, 10, 10, 20, 20))) == [("a", 10), ("a", 20)]


def test_an_iterator_will_do():
    assert joined(iter(rows(CARTPOLE))) == rows(CARTPOLE)


def twin(rows: list[Row]) -> list[Row]:
    """A row counts unless one from its place on takes it back; slow."""
    return [
        old
        for place, old in enumerate(rows)
        if not any(takes_back(later, old) for later in rows[place + 1 :])
    ]


def takes_back(later: Row, old: Row) -> bool:
    """Another process began at or before it, or a row at the same place or before came later."""
    is_other = later["attempt"] != old["attempt"]
    return later["progress"] <= old["progress"] or (
        is_other and old["progress"] > later["resumed_at"]
    )


@st.composite
def attempts(draw: st.DrawFn) -> list[Row]:
    found: list[Row] = []
    for number in range(draw(st.integers(0, 5))):
        since = draw(st.sampled_from([0, *(row["progress"] for row in found)]))
        steps = draw(st.lists(st.integers(1, 20), max_size=6))
        progress: list[Any] = [since + sum(steps[: i + 1]) for i in range(len(steps))]
        found += attempt(str(number), since, *progress)
    return found


@given(attempts())
def test_joined_is_what_its_slow_twin_finds(rows: list[Row]):
    assert joined(rows) == twin(rows)


@given(attempts())
def test_progress_grows_and_the_last_row_stays(rows: list[Row]):
    progress = [row["progress"] for row in joined(rows)]
    assert progress == sorted(set(progress))
    assert joined(rows)[-1:] == rows[-1:]


@given(attempts())
def test_joining_again_changes_nothing(rows: list[Row]):
    assert joined(joined(rows)) == joined(rows)

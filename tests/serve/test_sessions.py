from __future__ import annotations

import numpy as np
import pytest

from serve.errors import Conflict, Overloaded
from serve.sessions import Sessions

STACK = np.array([[1.0], [2.0], [3.0]], np.float32)  # L = 3, frames [1]


class Clock:
    """Seconds, as the test likes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    """Two at most, each for ten seconds."""
    return Sessions(max_sessions=2, idle_seconds=10.0, clock=clock)


def frame(number: float) -> np.ndarray:
    return np.array([number], np.float32)


def test_a_frame_moves_the_stack_on(sessions: Sessions):
    assert sessions.open("a", STACK, step=None) is STACK
    assert sessions.push("a", frame(4), step=None).ravel().tolist() == [2, 3, 4]
    assert sessions.push("a", frame(5), step=None).ravel().tolist() == [3, 4, 5]
    assert STACK.ravel().tolist() == [1, 2, 3]


def test_a_stack_handed_out_is_never_written_to(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    fourth = sessions.push("a", frame(4), step=1)
    sessions.push("a", frame(5), step=2)
    assert fourth.ravel().tolist() == [2, 3, 4]


def test_a_stack_of_one_frame_is_replaced(sessions: Sessions):
    sessions.open("a", STACK[:1], step=0)
    assert sessions.push("a", frame(4), step=1).ravel().tolist() == [4]


def test_the_same_step_again_changes_nothing(sessions: Sessions):
    sessions.open("a", STACK, step=7)
    for _ in range(3):
        assert sessions.push("a", frame(4), step=8).ravel().tolist() == [2, 3, 4]
    assert sessions.push("a", frame(5), step=9).ravel().tolist() == [3, 4, 5]


def test_the_first_step_again_is_the_stack_it_began_with(sessions: Sessions):
    sessions.open("a", STACK, step=7)
    assert sessions.push("a", frame(3), step=7) is STACK


@pytest.mark.parametrize("step", [0, 6, 9, 100])
def test_a_step_that_does_not_follow_is_refused_and_changes_nothing(sessions: Sessions, step: int):
    sessions.open("a", STACK, step=7)
    with pytest.raises(Conflict, match=f"step must be 7 again or 8, got {step}") as raised:
        sessions.push("a", frame(4), step=step)
    assert raised.value.code == "session_lost"
    assert sessions.push("a", frame(4), step=8).ravel().tolist() == [2, 3, 4]


def test_a_session_opened_without_a_step_begins_at_0(sessions: Sessions):
    sessions.open("a", STACK, step=None)
    assert sessions.push("a", frame(4), step=1).ravel().tolist() == [2, 3, 4]


def test_an_unknown_session_is_lost(sessions: Sessions):
    with pytest.raises(Conflict, match="'a' is not known here: send the whole stack") as raised:
        sessions.push("a", frame(4), step=1)
    assert raised.value.code == "session_lost"


def test_a_whole_stack_restores_a_session(sessions: Sessions):
    sessions.open("a", STACK, step=3)
    sessions.open("a", STACK + 10, step=20)
    assert sessions.push("a", frame(4), step=21).ravel().tolist() == [12, 13, 4]
    assert len(sessions) == 1


def test_sessions_do_not_mix(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    sessions.open("b", STACK + 10, step=0)
    sessions.push("a", frame(4), step=1)
    assert sessions.push("b", frame(5), step=1).ravel().tolist() == [12, 13, 5]


def test_their_number_is_bounded_and_the_error_tells_when_to_come_back(
    sessions: Sessions, clock: Clock
):
    sessions.open("a", STACK, step=0)
    sessions.open("b", STACK, step=0)
    clock.now += 4
    with pytest.raises(Overloaded, match="at most 2 sessions may be open") as raised:
        sessions.open("c", STACK, step=0)
    assert (raised.value.code, raised.value.retry_after) == ("too_many_sessions", 6.0)
    sessions.open("a", STACK, step=0)  # one that is there already may begin again
    assert len(sessions) == 2


def test_an_idle_session_is_forgotten(sessions: Sessions, clock: Clock):
    sessions.open("a", STACK, step=0)
    clock.now += 10
    sessions.push("a", frame(4), step=1)
    clock.now += 10.001
    with pytest.raises(Conflict, match="'a' is not known here"):
        sessions.push("a", frame(5), step=2)


def test_the_one_idle_longest_makes_room(sessions: Sessions, clock: Clock):
    sessions.open("a", STACK, step=0)
    clock.now += 1
    sessions.open("b", STACK, step=0)
    clock.now += 5
    sessions.push("a", frame(4), step=1)  # now b is the older one
    clock.now += 6
    sessions.open("c", STACK, step=0)
    assert sessions.push("a", frame(5), step=2).ravel().tolist() == [3, 4, 5]
    with pytest.raises(Conflict):
        sessions.push("b", frame(4), step=1)


def test_a_closed_session_is_gone_and_closing_it_again_is_fine(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    sessions.close("a")
    sessions.close("a")
    assert len(sessions) == 0


def test_a_frame_taken_back_may_be_sent_again(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    stack = sessions.push("a", frame(4), step=None)
    sessions.take_back("a", stack[None][0])  # as the service does it: a view
    assert sessions.push("a", frame(4), step=None).ravel().tolist() == [2, 3, 4]


def test_only_the_newest_frame_can_be_taken_back(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    older = sessions.push("a", frame(4), step=None)
    sessions.push("a", frame(5), step=None)
    sessions.take_back("a", older)
    assert sessions.push("a", frame(6), step=3).ravel().tolist() == [4, 5, 6]


def test_a_frame_is_taken_back_once(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    stack = sessions.push("a", frame(4), step=1)
    sessions.take_back("a", stack)
    sessions.take_back("a", stack)
    assert sessions.push("a", frame(4), step=1).ravel().tolist() == [2, 3, 4]


def test_a_step_that_was_repeated_is_not_taken_back(sessions: Sessions):
    sessions.open("a", STACK, step=0)
    stack = sessions.push("a", frame(4), step=1)
    sessions.push("a", frame(4), step=1)  # the client asks again, and this one is answered
    sessions.take_back("a", stack)  # the first one was too late
    assert sessions.push("a", frame(5), step=2).ravel().tolist() == [3, 4, 5]


def test_taking_back_what_is_not_there_is_fine(sessions: Sessions):
    sessions.take_back("a", STACK)
    sessions.open("a", STACK, step=0)
    sessions.take_back("a", STACK)
    assert sessions.push("a", frame(4), step=1).ravel().tolist() == [2, 3, 4]

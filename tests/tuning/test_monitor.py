from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

import tuning.monitor
from tuning.monitor import EVERY_SECONDS, Monitor, Reporter

STATUS = {"activity": "training"}


class FakeMonitor:
    """Answers when it is told to; its answers are their own references."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.tell = SimpleNamespace(remote=self._tell)
        self.answer: Any = None  # to all calls; None: not yet

    def _tell(self, name: str, status: dict[str, Any]) -> str:
        self.told.append((name, status))
        return "reference"


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> FakeMonitor:
    found = FakeMonitor()

    def get(reference: str) -> Any:
        if isinstance(found.answer, Exception):
            raise found.answer
        return found.answer

    def wait(references: list[str], *, timeout: float) -> tuple[list[str], list[str]]:
        return (references, []) if found.answer is not None else ([], references)

    monkeypatch.setattr(tuning.monitor, "ray", SimpleNamespace(get=get, wait=wait))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(tuning.monitor, "time", found)
    return found


def test_the_first_word_is_passed_on_at_once(monitor: FakeMonitor, clock: Clock):
    clock.now = 0.0  # as on a machine that has just started
    Reporter(monitor, "Pong-seed-0").tell(STATUS)
    assert monitor.told == [("Pong-seed-0", STATUS)]


def test_it_tells_once_a_second(monitor: FakeMonitor, clock: Clock):
    reporter, monitor.answer = Reporter(monitor, "x"), False
    for _ in range(100):
        reporter.tell(STATUS)
    assert len(monitor.told) == 1
    clock.now += EVERY_SECONDS
    reporter.tell(STATUS)
    assert len(monitor.told) == 2


def test_what_must_be_seen_is_told_at_once(monitor: FakeMonitor, clock: Clock):
    reporter, monitor.answer = Reporter(monitor, "x"), False
    reporter.tell(STATUS)
    reporter.tell({"activity": "evaluating"}, now=True)
    assert monitor.told[-1] == ("x", {"activity": "evaluating"})


def test_it_says_nothing_more_before_an_answer_came(monitor: FakeMonitor, clock: Clock):
    reporter = Reporter(monitor, "x")
    reporter.tell(STATUS)
    clock.now += 10 * EVERY_SECONDS
    reporter.tell(STATUS, now=True)
    assert len(monitor.told) == 1
    monitor.answer = False
    reporter.tell(STATUS)
    assert len(monitor.told) == 2


def test_it_hears_of_a_wish_to_stop(monitor: FakeMonitor, clock: Clock):
    reporter = Reporter(monitor, "x")
    reporter.tell(STATUS)
    reporter.tell(STATUS)
    assert reporter.is_wanted is False
    monitor.answer = True
    reporter.tell(STATUS)
    assert reporter.is_wanted is True


def test_it_outlives_the_monitor(monitor: FakeMonitor, clock: Clock):
    reporter, monitor.answer = Reporter(monitor, "x"), ActorDiedError()
    for _ in range(3):
        clock.now += EVERY_SECONDS
        reporter.tell(STATUS)
    assert len(monitor.told) == 1
    assert reporter.is_wanted is False


def test_a_trial_without_a_monitor_tells_nobody():
    reporter = Reporter(None, "x")
    reporter.tell(STATUS, now=True)
    assert reporter.is_wanted is False


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_a_monitor_passes_on_statuses_and_the_wish_and_may_die():
    real: Any = Monitor
    monitor = real.remote()
    reporter = Reporter(monitor, "x")
    reporter.tell(STATUS, now=True)
    ray.get(monitor.stop.remote())
    assert ray.get(monitor.read.remote()) == {"x": STATUS}
    end = time.monotonic() + 60
    while not reporter.is_wanted and time.monotonic() < end:
        reporter.tell(STATUS, now=True)
    assert reporter.is_wanted
    ray.kill(monitor)
    for _ in range(20):
        reporter.tell(STATUS, now=True)
        time.sleep(0.05)
    assert reporter.is_wanted

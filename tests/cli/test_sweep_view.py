from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

import cli.sweep_view
from cli.sweep_view import (
    DRAW_SECONDS,
    LINE_SECONDS,
    LineSweep,
    LiveSweep,
    make_sweep_view,
    sweep_line,
    sweep_table,
    trial_line,
)
from tuning.specs import TrialSpec
from tuning.watching import CUT, FAILED, FINISHED, RUNNING, WAITING, SweepStatus, TrialStatus


def trial(seed: int = 0, **changes: Any) -> TrialStatus:
    return TrialStatus(spec=TrialSpec(game="Pong", seed=seed), length=100_000, **changes)


def sweep(*trials: TrialStatus, **changes: Any) -> SweepStatus:
    return SweepStatus(trials={one.spec.name: one for one in trials}, **changes)


def drawn(what: RenderableType, *, width: int = 120) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(what)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(cli.sweep_view, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def test_a_trial_is_a_line_with_all_its_numbers():
    running = trial(
        state=RUNNING, activity="evaluating", progress=12_000, train_return=-20.5,
        evaluation_return=-18.25, normalised=0.125,
    )  # fmt: skip
    (line,) = [line for line in drawn(sweep_table(sweep(running), 10)) if "Pong" in line]
    assert line.startswith("Pong-seed-0")
    assert line.split()[-5:] == ["12,000/100,000", "-20.5", "-18.25", "0.125", "evaluating"]


def test_what_is_not_known_is_a_dash():
    (line,) = [line for line in drawn(sweep_table(sweep(trial()), 10)) if "Pong" in line]
    assert line.split()[-5:] == ["0/100,000", "-", "-", "-", "waiting"]


@pytest.mark.parametrize("height", [1, 2, 5, 19])
@pytest.mark.parametrize("num_trials", [1, 5, 6, 20])
def test_the_table_fits_the_height(height: int, num_trials: int):
    status = sweep(*[trial(seed) for seed in range(num_trials)])
    lines = drawn(sweep_table(status, height))
    assert len(lines) <= 1 + max(2, height) + 1  # the heading, trials, the line for all
    shown = sum("seed" in line for line in lines)
    rest = num_trials - shown
    assert shown >= 1
    assert [line for line in lines if "more" in line] == ([f"and {rest} more"] if rest else [])


def test_a_low_terminal_is_not_overrun(clock: SimpleNamespace):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=12)
    status = sweep(*[trial(seed, state=RUNNING) for seed in range(156)], is_stopping=True)
    with make_sweep_view(console, status) as view:
        view.show()
        assert "more" in stream.getvalue()
        assert stream.getvalue().count("\n") < 12


@pytest.mark.parametrize(("width", "has_bars"), [(80, False), (100, True)])
def test_long_names_and_words_give_way_to_numbers(width: int, has_bars: bool):
    long = TrialStatus(
        spec=TrialSpec(game="MountainCarContinuous-v0", seed=11, settings={"td_steps": 3}),
        length=100_000, progress=99_000, state=RUNNING, activity="evaluating: 32 episodes",
        train_return=-123.4, evaluation_return=-234.5, normalised=-0.1234, num_failures=2,
    )  # fmt: skip
    lines = drawn(sweep_table(sweep(long), 10, has_bars=has_bars), width=width)
    assert len(lines) == 3
    for text in ("99,000/100,000", " -123.4 ", " -234.5 ", " -0.123 ", "MountainC", "evaluat"):
        assert text in lines[1]


def test_what_matters_most_comes_first():
    states = [WAITING, CUT, FINISHED, FAILED, RUNNING]
    status = sweep(*[trial(seed, state=state) for seed, state in enumerate(states)])
    lines = [line.split()[0] for line in drawn(sweep_table(status, 10)) if "Pong" in line]
    assert lines == [f"Pong-seed-{seed}" for seed in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("num_failures", "text"), [(0, "running"), (1, "failed once"), (3, "failed 3 times")]
)
def test_a_trial_that_failed_and_went_on_says_so(num_failures: int, text: str):
    status = sweep(trial(state=RUNNING, num_failures=num_failures))
    assert drawn(sweep_table(status, 10))[1].endswith(text)


def test_progress_past_the_end_is_a_full_bar():
    over, full = (trial(progress=at, state=FINISHED) for at in (100_008, 100_000))
    bars = [drawn(sweep_table(sweep(one), 9))[1].split()[1] for one in (over, full)]
    assert bars[0] == bars[1] != ""


def test_one_line_counts_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SweepStatus, "seconds_left", 3725.0)
    first = trial(0, state=RUNNING, progress=25_000)
    status = sweep(first, trial(1, state=FINISHED, progress=100_000), trial(2), trial(3))
    text = "4 trials: 1 running, 1 finished, 2 waiting; 31%, ETA 1:02:05"
    assert sweep_line(status).plain == text


def test_one_line_says_that_it_stops():
    status = sweep(trial(), is_stopping=True)
    assert sweep_line(status).plain == "saving, to stop; 1 trials: 1 waiting; 0%, ETA ?"


def test_a_sweep_whose_trials_are_not_chosen_yet_has_a_line():
    assert sweep_line(sweep()).plain.startswith("0 trials: ; 0%")


def test_a_failed_trial_is_told_with_its_error():
    failed = trial(state=FAILED, error="ValueError: [bold]no luck")
    assert drawn(trial_line(failed)) == ["Pong-seed-0 failed: ValueError: [bold]no luck"]


def test_a_finished_trial_is_told_with_its_evaluation():
    finished = trial(
        state=FINISHED, progress=100_000, train_return=3.0, evaluation_return=14.5,
        normalised=0.99, seconds=62.0,
    )  # fmt: skip
    text = "Pong-seed-0 finished: return 14.5, normalised 0.990, 100,000 steps in 1:02"
    assert trial_line(finished).plain == text


def test_a_trial_without_an_evaluation_is_told_with_its_training():
    cut = trial(state=CUT, progress=500, train_return=3.0)
    assert trial_line(cut).plain == "Pong-seed-0 stopped early: return 3, 500 steps in 0:00"


def test_a_log_gets_a_line_now_and_then(clock: SimpleNamespace):
    stream = io.StringIO()
    with make_sweep_view(Console(file=stream, width=200), sweep(trial())) as view:
        for _ in range(100):
            clock.now += 0.99 * LINE_SECONDS / 50
            view.show()
    assert isinstance(view, LineSweep)
    assert stream.getvalue() == "1 trials: 1 waiting; 0%, ETA ?\n"


def test_a_log_gets_what_came_of_each_trial_at_once_in_one_line(clock: SimpleNamespace):
    stream = io.StringIO()
    long = trial(state=FAILED, error="ValueError: " + "x" * 100)
    with make_sweep_view(Console(file=stream, width=40), sweep(long)) as view:
        view.tell(long)
    assert stream.getvalue() == f"Pong-seed-0 failed: {long.error}\n"


def test_a_terminal_gets_a_table_that_is_drawn_now_and_then(clock: SimpleNamespace):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, height=20)
    with make_sweep_view(console, sweep(trial())) as view:
        for _ in range(100):
            view.show()
        assert stream.getvalue().count("Pong-seed-0") == 1
        clock.now += DRAW_SECONDS
        view.show()
        assert stream.getvalue().count("Pong-seed-0") == 2
    assert isinstance(view, LiveSweep)


def test_a_terminal_keeps_what_came_of_each_trial(clock: SimpleNamespace):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, height=20)
    failed = trial(state=FAILED, error="no luck")
    with make_sweep_view(console, sweep(failed)) as view:
        view.tell(failed)
    assert "Pong-seed-0 failed: no luck" in stream.getvalue()

"""The loop of a run over an algorithm that only counts; tests/cli/test_train.py has a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rllib_ez.runs.training
from rllib_ez.runs.plan import make_plan
from rllib_ez.runs.records import RowFile
from rllib_ez.runs.status import Status
from rllib_ez.runs.stop import Stopped
from rllib_ez.runs.training import (
    Patience,
    Training,
    ended_episodes,
    losses_of,
    passed,
)

EVERY, LENGTH, ROUND = 100, 250, 60


class Wish:
    """A wish to stop that comes when it is set."""

    def __init__(self) -> None:
        self.is_wanted = False

    def check(self) -> None:
        if self.is_wanted:
            raise Stopped


class CountingAlgorithm:
    """Sixty steps a round up to the limit; one update is left due when the last step is in."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(inference_device="cpu", inference_engine="auto")
        self.on_round: Callable[[], None] = lambda: None
        self.saved: list[str] = []
        self.pipeline = SimpleNamespace(
            num_env_steps=0,
            num_updates=0,
            credits=SimpleNamespace(due=0, env_steps_limit=None),
            shards=SimpleNamespace(total=lambda name: 1),
            seconds=dict,
            quiesce=lambda: None,
        )

    def train(self) -> dict[str, Any]:
        pipeline = self.pipeline
        steps = min(pipeline.num_env_steps + ROUND, pipeline.credits.env_steps_limit)
        pipeline.credits.due = int(steps == LENGTH > pipeline.num_env_steps)
        pipeline.num_env_steps = steps
        self.on_round()
        return {"env_runners": {"episode_return_mean": 5.0, "num_episodes": 2}}

    def agent_card(self) -> Any:
        return SimpleNamespace(model=None)

    def learner_weights(self) -> dict[str, Any]:
        return {}

    def save_to_path(self, path: Path) -> None:
        self.saved.append(path.name)
        path.mkdir()


class CountingEvaluator:
    """Episodes of score 1 and 3."""

    def __init__(self) -> None:
        self.seeds = [0, 1]
        self.num_evaluations = 0
        self.on_play: Callable[[], None] = lambda: None

    def play(self, agent: Any, *, on_step: Callable[[], None]) -> list[Any]:
        self.on_play()
        on_step()
        self.num_evaluations += 1
        return [SimpleNamespace(score=score, length=9) for score in (1.0, 3.0)]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    model = SimpleNamespace(load=lambda weights: None)
    monkeypatch.setattr(rllib_ez.runs.training, "blank_engine", lambda *a, **k: model)
    monkeypatch.setattr(rllib_ez.runs.training, "Agent", lambda *a: None)
    options = {"env_steps": LENGTH, "evaluate_every": EVERY, "checkpoint_every": EVERY}
    plan, _ = make_plan(
        env="CartPole-v1", game=None, preset=[], assignments=[], options=options
    )  # fmt: skip
    view: Any = SimpleNamespace(show=lambda *, now=False: None)
    algo: Any = CountingAlgorithm()
    evaluator: Any = CountingEvaluator()
    with RowFile(tmp_path) as rows:
        yield Training(algo, plan, tmp_path, evaluator, rows, Status("x", LENGTH), view)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def test_a_round_comes_first_and_an_evaluation_when_it_is_due(training: Training):
    counts = []
    for _ in range(4):
        training.advance(Wish())
        counts.append((training.progress, training.evaluated_at))
    assert counts == [(60, 0), (120, 120), (180, 120), (240, 240)]


def test_a_run_is_not_finished_before_its_last_update_and_evaluation(training: Training):
    states = []
    for _ in range(6):
        training.advance(Wish())
        states.append((training.progress, training.is_done, training.is_finished))
    assert states[-2:] == [(250, False, False), (250, True, True)]
    assert training.evaluated_at == LENGTH


def test_a_finished_run_does_not_go_on(training: Training):
    for _ in range(9):
        training.advance(Wish())
    evaluator: Any = training.evaluator
    assert (training.progress, evaluator.num_evaluations) == (LENGTH, 3)


def test_a_run_that_cannot_pay_its_updates_is_done_all_the_same(training: Training):
    for _ in range(5):
        training.advance(Wish())
    assert not training.is_done
    training.algo.pipeline.shards.total = lambda name: 0
    assert training.is_done


def test_a_wish_during_a_round_leaves_the_evaluation_out(training: Training):
    wish, algo, evaluator = Wish(), training.algo, training.evaluator
    evaluator.on_play = lambda: pytest.fail("it was begun")
    training.advance(wish)
    algo.on_round = lambda: setattr(wish, "is_wanted", True)
    training.advance(wish)
    assert (training.progress, training.evaluated_at) == (120, 0)


def test_a_round_has_some_seconds_to_end_after_the_wish(monkeypatch: pytest.MonkeyPatch):
    wish = Wish()
    patience = Patience(wish)
    assert not patience()
    wish.is_wanted = True
    assert not patience()
    monkeypatch.setattr("rllib_ez.runs.training.ROUND_SECONDS", -1.0)
    assert patience()


def test_a_wish_during_an_evaluation_breaks_it_off_without_a_trace(
    training: Training, tmp_path: Path
):
    wish, evaluator = Wish(), training.evaluator
    training.advance(wish)
    evaluator.on_play = lambda: setattr(wish, "is_wanted", True)
    training.advance(wish)
    assert (training.evaluated_at, training.returns, training.is_finished) == (0, None, False)
    assert not [row for row in rows_in(tmp_path) if "evaluation" in row]


def test_what_was_broken_off_comes_before_the_next_round(training: Training):
    wish, evaluator = Wish(), training.evaluator
    training.advance(wish)
    evaluator.on_play = lambda: setattr(wish, "is_wanted", True)
    training.advance(wish)
    wish.is_wanted, evaluator.on_play = False, lambda: None
    training.advance(wish)
    assert (training.progress, training.evaluated_at) == (120, 120)


def test_what_was_broken_off_comes_later_where_updates_are_due(training: Training):
    wish, algo = Wish(), training.algo
    training.advance(wish)
    algo.on_round = lambda: setattr(wish, "is_wanted", True)
    training.advance(wish)
    wish.is_wanted, algo.on_round = False, lambda: None
    algo.pipeline.credits.due = 1
    training.advance(wish)
    assert (training.progress, training.evaluated_at) == (180, 180)


def test_rows_tell_of_rounds_and_evaluations(training: Training, tmp_path: Path):
    for _ in range(2):
        training.advance(Wish())
    rows = rows_in(tmp_path)
    assert [row["env_steps"] for row in rows] == [60, 120, 120]
    assert (rows[0]["train_episodes"], rows[0]["train_return_mean"]) == (2, 5.0)
    assert rows[2]["evaluation"] == {"return_mean": 2.0, "returns": [1.0, 3.0]}
    assert (training.returns, training.num_train_episodes) == ([1.0, 3.0], 4)


def test_a_run_saves_itself_at_its_marks_and_at_its_end(training: Training, tmp_path: Path):
    training.run(Wish())
    algo: Any = training.algo
    assert algo.saved == [f"checkpoint_{at:09d}" for at in (120, 240, 250)]
    kept = sorted(path.name for path in tmp_path.glob("checkpoint_*"))
    assert kept == ["checkpoint_000000240", "checkpoint_000000250"]


def test_a_run_that_is_stopped_saves_itself_where_it_is(training: Training):
    wish, algo = Wish(), training.algo
    algo.on_round = lambda: setattr(wish, "is_wanted", True)
    training.run(wish)
    assert algo.saved == ["checkpoint_000000060"]
    assert training.checkpoint is not None


def test_without_periods_all_comes_at_the_end(training: Training):
    training.plan = replace(training.plan, evaluate_every=0, checkpoint_every=0)
    training.run(Wish())
    evaluator, algo = training.evaluator, training.algo
    assert (evaluator.num_evaluations, algo.saved) == (1, ["checkpoint_000000250"])


@given(st.integers(0, 300), st.integers(0, 100), st.integers(0, 60))
def test_a_mark_is_passed_where_a_multiple_lies_between(before: int, more: int, every: int):
    between = range(before + 1, before + more + 1)
    marks = [at for at in between if every and at % every == 0]
    assert passed(before, before + more, every) == bool(marks)


def test_episodes_that_ended_are_counted_with_their_mean():
    assert ended_episodes({"env_runners": {"episode_return_mean": 2.5, "num_episodes": 4}}) == (
        4, 2.5,
    )  # fmt: skip


@pytest.mark.parametrize("mean", [None, float("nan")])
def test_a_round_without_an_ended_episode_has_no_mean(mean: float | None):
    result = {"env_runners": {"episode_return_mean": mean, "num_episodes": 3}}
    assert ended_episodes(result) == ended_episodes({}) == (0, None)


def test_losses_are_told_by_short_names_and_the_total_first():
    learner = {"value_loss": 2, "total_loss": 3.0, "policy_loss": float("nan"), "lr": 0.1}
    found = losses_of({"learners": {"default_policy": learner}})
    assert list(found.items()) == [("total", 3.0), ("value", 2.0)]
    assert losses_of({}) == {}


def test_a_run_that_goes_on_knows_its_last_losses_and_replay(training: Training, tmp_path: Path):
    about = {"env_steps": 60, "updates": 3, "seconds": 1.0, "training_seconds": 1.0, "stages": {}}
    episodes = {"train_episodes": 2, "train_return_mean": 5.0}
    rows = [about | episodes | {"losses": {"total": 1.5}, "replay_bytes": 7}]
    status = Status("x", LENGTH)
    Training(
        training.algo, training.plan, tmp_path, training.evaluator, training.recorder, status,
        training.view, rows_before=rows,
    )  # fmt: skip
    assert (status.losses, status.replay_bytes, status.train_return) == ({"total": 1.5}, 7, 5.0)

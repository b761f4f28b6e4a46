from __future__ import annotations

from typing import Any

import pytest

from rllib_ez.runs.stages import Row, StageSeconds, combined, report

ONE_PROCESS = {"num_env_runners": 0, "num_learners": 0}
MANY = {"num_env_runners": 2, "num_learners": 1, "num_replay_shards": 1, "num_reanalyse_actors": 3}
SECONDS = {
    "env_runner": {"search": 3.0, "env": 1.0, "busy": 5.0},
    "replay": {"replay": 1.0, "archive": 0.5},
    "reanalyse": {"reanalyse": 2.0},
    "learner": {"learn": 8.0},
    "driver": {"waiting": 6.0},
}


def rows(settings: dict[str, Any], seconds: dict = SECONDS) -> dict[tuple[str, str], Row]:
    return {(row.role, row.stage): row for row in report(10.0, seconds, settings).rows}


def test_the_rest_of_an_actors_time_is_waiting():
    found = rows(MANY)
    assert found["env_runner", "waiting"].seconds == 15.0  # of two processes
    assert found["env_runner", "waiting"].share == pytest.approx(0.75)
    assert found["reanalyse", "waiting"].seconds == 28.0


def test_what_an_env_runner_does_beside_its_stages_is_told():
    assert rows(MANY)["env_runner", "other"].seconds == pytest.approx(1.0)


def test_the_rest_of_the_drivers_time_is_routing():
    found = rows(MANY)
    assert found["driver", "waiting"].seconds == 6.0
    assert found["driver", "routing"].seconds == 4.0


def test_in_one_process_everything_is_the_drivers():
    found = report(20.0, SECONDS, ONE_PROCESS).rows
    assert {row.process for row in found} == {"driver"}
    assert sum(row.share for row in found) == pytest.approx(1.125)  # 6 s it says it waited
    assert next(row for row in found if row.stage == "learn").share == pytest.approx(0.4)


def test_shards_reanalyse_where_no_reanalyse_actors_do():
    found = rows(MANY | {"num_reanalyse_actors": 0})
    assert found["reanalyse", "reanalyse"].process == "replay"
    assert found["replay", "waiting"].seconds == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("settings", "role", "stage", "text"),
    [
        (MANY, "learner", "learn", "more --num-learners"),
        (ONE_PROCESS, "learner", "learn", "--num-learners 1,"),
        (MANY, "env_runner", "search", "more --num-env-runners, or fewer num_simulations"),
        (ONE_PROCESS, "env_runner", "env", "--num-env-runners 1 or more"),
        (MANY, "reanalyse", "reanalyse", "more --num-reanalyse-actors, or a GPU"),
        (ONE_PROCESS, "replay", "replay", "--num-replay-shards 1"),
        (MANY, "replay", "archive", "--no-episodes"),
        (ONE_PROCESS, "driver", "routing", "raise rollout_fragment_length"),
    ],
)
def test_the_busiest_stage_is_named_with_what_helps(
    settings: dict, role: str, stage: str, text: str
):
    seconds = {role: {stage: 29.0}, "driver": {"waiting": 10.0 if settings is MANY else 0.0}}
    wall = {"env_runner": 15.0, "reanalyse": 10.0}.get(role, 29.0) if settings is MANY else 30.0
    advice = report(wall, seconds, settings).advice
    assert f"{role} ({stage})" in advice
    assert text in advice


def test_processes_that_only_wait_are_told_to_talk_less():
    seconds = {"learner": {"learn": 1.0}, "driver": {"waiting": 9.5}}
    assert "No process works more than 10%" in report(10.0, seconds, MANY).advice


def test_too_few_cores_are_told():
    assert report(10.0, SECONDS, MANY, cores=2).advice.startswith("8 processes share 2 cores")
    assert "share" not in report(10.0, SECONDS, MANY, cores=8).advice


def test_seconds_go_on_where_a_run_is_resumed():
    first = StageSeconds.after([]).row(5.0, {"learner": {"learn": 2.0}})
    rows = [first, {"evaluation": {}}]
    again = StageSeconds.after(rows).row(1.0, {"learner": {"learn": 0.5, "transfer": 0.25}})
    assert again["training_seconds"] == 6.0
    assert again["stages"] == {"learner": {"learn": 2.5, "transfer": 0.25}}


def test_what_was_before_a_measurement_is_taken_off():
    assert combined({"a": {"x": 3.0}}, {"a": {"x": 1.0}}, sign=-1) == {"a": {"x": 2.0}}

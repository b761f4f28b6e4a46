from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from rllib_ez.errors import CheckpointError, SettingError
from tests.tuning.plans import order_of
from tests.tuning.sweeps import (
    CARTPOLE,
    LENGTH,
    row,
    rows,
    write_attempt,
    write_checkpoint,
    write_finished,
    write_killed,
    write_order,
)
from tuning.order import Order
from tuning.report.model import Run
from tuning.room import Share
from tuning.specs import TrialSpec
from tuning.suites import load_suite
from tuning.sweep import (
    Listed,
    Remains,
    UniqueNames,
    absolute,
    held,
    mean_of,
    num_left,
    remains_of,
    spec_of_run,
    todo_of,
    tune_config,
    tunes_environment,
)

LR = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}}
RANDOM, OPTUNA = {"method": "random", **LR}, {"method": "optuna", **LR}
FIRST, SECOND = {"learning_rate": 0.001}, {"learning_rate": 0.002}
SHARE = Share(bundles=({"CPU": 1.0},), threads=3, memory_bytes=1, disk_bytes=1, concurrency=2)


def run_of(
    game: str, seed: int, settings: Mapping[str, Any] | None = None, *, until: int = LENGTH,
    **more: Any,
) -> Run:  # fmt: skip
    spec = TrialSpec(game=game, seed=seed, settings=settings or {})
    return Run(
        game=game, seed=seed, sample=spec.sample, settings=spec.settings, folder="x",
        rows=rows(spec, until), **more,
    )  # fmt: skip


def by_name(*runs: Run) -> dict[str, Run]:
    return {spec_of_run(run).name: run for run in runs}


def left_after(order: Order, *runs: Run) -> tuple[list[tuple[str, int]], int]:
    """Game and seed of what is known to be left, and how many trials are."""
    todo = todo_of(order, by_name(*runs))
    remains = Remains(todo=todo, runs=by_name(*runs), part="part_02")
    return [(spec.game, spec.seed) for spec in todo], num_left(order, remains)


def test_a_folder_without_a_sweep_leaves_everything_to_do(tmp_path: Path):
    remains = remains_of(str(tmp_path / "new"), order_of())
    assert remains == Remains(todo=order_of().specs(), runs={}, part="part_01")
    assert num_left(order_of(), remains) == 4
    assert not (tmp_path / "new").exists()


def test_what_was_killed_or_failed_or_never_began_is_left(tmp_path: Path):
    remains = remains_of(str(write_killed(tmp_path)), order_of())
    assert [spec.name for spec in remains.todo] == ["Acrobot-v1-seed-0", "Acrobot-v1-seed-1"]
    assert remains.part == "part_04"
    assert len(remains.runs) == 3
    assert remains.broken == []


def test_a_trial_with_a_checkpoint_goes_on(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 50))
    checkpoint = write_checkpoint(trial, 1, rows(CARTPOLE, 40))
    (broken,) = remains_of(str(tmp_path), order_of()).broken
    assert (spec_of_run(broken), broken.checkpoint) == (CARTPOLE, str(checkpoint))


def test_a_trial_that_a_scheduler_gave_up_is_not_left(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 50))
    (trial / "stopped.json").write_text('{"by": "scheduler"}')
    names = [spec.name for spec in remains_of(str(tmp_path), order_of()).todo]
    assert CARTPOLE.name not in names
    assert len(names) == 3


def test_a_sweep_that_is_done_leaves_nothing(tmp_path: Path):
    write_finished(write_order(tmp_path), {"CartPole-v1": [1.0, 2.0], "Acrobot-v1": [3.0, 4.0]})
    remains = remains_of(str(tmp_path), order_of())
    assert (remains.todo, num_left(order_of(), remains)) == ([], 0)


def test_a_new_seed_leaves_its_trials(tmp_path: Path):
    write_finished(write_order(tmp_path), {"CartPole-v1": [1.0, 2.0], "Acrobot-v1": [3.0, 4.0]})
    todo = remains_of(str(tmp_path), order_of(seeds=[0, 1, 5])).todo
    assert [(spec.game, spec.seed) for spec in todo] == [("CartPole-v1", 5), ("Acrobot-v1", 5)]


def test_samples_are_told_from_one_another():
    order = order_of(["CartPole-v1"], seeds=[0], search=RANDOM, num_samples=2)
    first, second = order.specs()
    done = run_of("CartPole-v1", 0, first.settings)
    assert todo_of(order, by_name(done)) == [second]


def test_optuna_is_to_choose_what_is_not_chosen_yet():
    order = order_of(search=OPTUNA, num_samples=3)
    assert left_after(order) == ([], 12)


def test_optuna_does_not_choose_again_what_is_done():
    order = order_of(seeds=[0], search=OPTUNA, num_samples=3)
    done = [run_of(game, 0, FIRST) for game in order.games]
    assert left_after(order, *done) == ([], 4)


def test_of_a_choice_that_was_broken_off_the_trials_that_never_began_are_left_too():
    order = order_of(seeds=[0], search=OPTUNA, num_samples=2)
    done = run_of("CartPole-v1", 0, FIRST)
    assert left_after(order, done) == ([("Acrobot-v1", 0)], 4)


def test_a_seed_more_is_tried_with_every_choice_of_optuna():
    order = order_of(["CartPole-v1"], seeds=[0, 1], search=OPTUNA, num_samples=2)
    done = [run_of("CartPole-v1", 0, settings) for settings in (FIRST, SECOND)]
    assert left_after(order, *done) == ([("CartPole-v1", 1)] * 2, 4)


def test_optuna_finished_leaves_nothing():
    order = order_of(seeds=[0], search=OPTUNA, num_samples=1)
    done = [run_of(game, 0, FIRST) for game in order.games]
    assert left_after(order, *done) == ([], 0)


def test_trials_are_handed_out_in_order_and_once():
    listed = Listed(order_of().specs(), threads=3)
    found: list[Any] = [listed.suggest(str(number)) for number in range(6)]
    assert found[0] == {"game": "CartPole-v1", "seed": 0, "settings": {}, "threads": 3}
    assert [config["game"] for config in found[:4]] == ["CartPole-v1", "Acrobot-v1"] * 2
    assert found[4:] == [Searcher.FINISHED] * 2


def test_what_is_listed_is_not_changed_by_results():
    listed = Listed(order_of().specs()[:1], threads=1)
    listed.on_trial_complete("0", {"return": 1.0})
    listed.save("nowhere")
    listed.restore("nowhere")
    assert listed.suggest("1") != Searcher.FINISHED


def trial_of(spec: TrialSpec, trial_id: str) -> Any:
    return SimpleNamespace(config=spec.as_config(), trial_id=trial_id)


def test_a_trial_is_named_after_what_it_trains_every_time():
    names = UniqueNames()
    assert {names(trial_of(CARTPOLE, "1a")) for _ in range(3)} == {CARTPOLE.name}


def test_a_second_trial_of_the_same_name_is_told_by_its_id():
    names = UniqueNames()
    assert names(trial_of(CARTPOLE, "1a")) == CARTPOLE.name
    assert names(trial_of(CARTPOLE, "2b")) == f"{CARTPOLE.name}_2b"
    assert names(trial_of(CARTPOLE, "1a")) == CARTPOLE.name


def test_a_folder_holds_no_order_or_that_which_was_written(tmp_path: Path):
    assert held(str(tmp_path)) is None
    (tmp_path / "sweep.yaml").write_text(order_of().as_yaml())
    assert held(str(tmp_path)) == held(tmp_path.as_uri()) == order_of()


def test_an_order_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path):
    (tmp_path / "sweep.yaml").write_text("games: [")
    with pytest.raises(CheckpointError, match=r"readable sweep\.yaml"):
        held(str(tmp_path))


def test_the_score_of_a_choice_is_the_mean_of_last_rows():
    runs = [run_of("CartPole-v1", seed, until=until) for seed, until in ((0, 40), (1, 60))]
    assert mean_of(runs, "return") == 50.0


@pytest.mark.parametrize("last", [[], [row(CARTPOLE, 10, **{"return": None})]])
def test_a_choice_of_which_a_trial_has_no_score_has_none(last: list[Any]):
    lacking = Run(game="CartPole-v1", seed=1, sample="", settings={}, folder="x", rows=last)
    assert mean_of([run_of("CartPole-v1", 0), lacking], "return") is None


def test_tune_is_told_how_many_and_how_many_at_once():
    order = order_of()
    remains = Remains(todo=order.specs()[1:], runs={}, part="part_01")
    found = tune_config(order, remains, load_suite("classic"), SHARE)
    assert (found.num_samples, found.max_concurrent_trials) == (3, 2)
    assert found.trial_dirname_creator is found.trial_name_creator
    assert found.scheduler is None


def test_a_scheduler_goes_by_the_longest_trial():
    space = RANDOM | {"asha": {"grace_env_steps": 3000}}
    order = order_of(search=space, num_samples=1)
    remains = Remains(todo=order.specs(), runs={}, part="part_01")
    with pytest.raises(SettingError, match=r"length of a trial \(2000\), got 3000"):
        tune_config(order, remains, load_suite("classic"), SHARE)


def test_optuna_hears_of_what_is_done_and_what_is_not():
    pytest.importorskip("optuna")
    order = order_of(["CartPole-v1"], seeds=[0, 1], search=OPTUNA, num_samples=3)
    done = [run_of("CartPole-v1", seed, FIRST) for seed in (0, 1)]
    runs = by_name(*done, run_of("CartPole-v1", 0, SECOND))
    remains = Remains(todo=todo_of(order, runs), runs=runs, part="part_02")
    found: Any = tune_config(order, remains, load_suite("classic"), SHARE)
    first, second, third = (found.search_alg.suggest(str(i))["settings"] for i in range(3))
    assert first == second == SECOND
    assert third not in (FIRST, SECOND)
    assert found.num_samples == 4


def test_what_tune_reads_from_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)
    with tunes_environment():
        assert os.environ["RAY_AIR_NEW_OUTPUT"] == "0"
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
    assert "TUNE_DISABLE_SIGINT_HANDLER" not in os.environ


def test_the_environment_is_put_back_after_an_error_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")

    def fail() -> None:
        with tunes_environment():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"


def test_tune_gets_absolute_paths_and_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("sweeps/x") == str(tmp_path / "sweeps" / "x")
    assert absolute("s3://bucket/x") == "s3://bucket/x"

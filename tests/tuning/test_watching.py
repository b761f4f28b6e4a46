from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem
from ray.exceptions import ActorDiedError
from ray.tune import Callback

import tuning.watching
from tests.tuning.sweeps import LENGTH, row
from tuning.monitor import EVERY_SECONDS
from tuning.specs import TrialSpec
from tuning.storage import Folder, seal
from tuning.watching import (
    CUT,
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    Ending,
    SweepStatus,
    TrialStatus,
    Watcher,
)

FIRST, SECOND = TrialSpec(game="Pong", seed=0), TrialSpec(game="Pong", seed=1)
GRACE = 20.0
CHECKPOINTS = ((1, 0), (1, 1), (2, 0))  # part and number, oldest first


class World:
    """A watcher, and everything around it."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.answer: Any = None  # of the monitor; None: not yet
        self.num_stops = self.num_shows = 0
        self.told: list[TrialStatus] = []
        self.stop = SimpleNamespace(is_wanted=False)
        self.ending = Ending(GRACE)
        self.trials = [self.trial(spec, folder) for spec in (FIRST, SECOND)]
        started = [TrialStatus(spec=spec, length=LENGTH) for spec in (FIRST, SECOND)]
        self.status = SweepStatus(
            trials={trial.spec.name: trial for trial in started}, began=self.now
        )
        self.watcher = Watcher(
            self.status,
            SimpleNamespace(show=self._show, tell=self.told.append),
            monitor=SimpleNamespace(
                stop=SimpleNamespace(remote=self._stop),
                read=SimpleNamespace(remote=lambda: "reference"),
            ),
            stop=self.stop,
            ending=self.ending,
            folder=Folder.at(folder),
            new_status=lambda spec: TrialStatus(spec=spec, length=7),
        )

    @staticmethod
    def trial(spec: TrialSpec, folder: Path) -> Any:
        storage = SimpleNamespace(
            storage_filesystem=LocalFileSystem(), trial_fs_path=str(folder / spec.name)
        )
        return SimpleNamespace(
            config=spec.as_config() | {"threads": 1},
            status="RUNNING",
            last_result=None,
            storage=storage,
            get_error=lambda: None,
        )

    def call(self, name: str, place: int = 0, **more: Any) -> TrialStatus:
        """Something happens to a trial; returns how it stands then."""
        trial = self.trials[place]
        if "result" in more:
            trial.last_result = more["result"]
        getattr(self.watcher, f"on_trial_{name}")(1, self.trials, trial, **more)
        return list(self.status.trials.values())[place]

    def step(self) -> None:
        """A step of Tune's loop, long enough for the monitor to be asked again."""
        self.now += EVERY_SECONDS
        self.watcher.on_step_end(1, self.trials)

    def _show(self) -> None:
        self.num_shows += 1

    def _stop(self) -> None:
        self.num_stops += 1

    def get(self, reference: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path)

    def wait(references: list[str], *, timeout: float) -> tuple[list[str], list[str]]:
        return (references, []) if found.answer is not None else ([], references)

    monkeypatch.setattr(tuning.watching, "ray", SimpleNamespace(wait=wait, get=found.get))
    monkeypatch.setattr(tuning.watching, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def test_a_trial_waits_runs_and_finishes(world: World):
    assert world.status.count(WAITING) == 2
    assert world.call("start").state == RUNNING
    assert world.call("result", result=row(FIRST, 50)).state == RUNNING
    world.call("result", result=row(FIRST, LENGTH))
    assert world.call("complete").state == FINISHED
    assert world.told == [world.status.trials[FIRST.name]]


def test_a_row_tells_how_far_and_how_well(world: World):
    values = {"train_return": 4.0, "evaluation_return": 6.0, "normalised_return": 0.5}
    found = world.call("result", result=row(FIRST, 30, **values))
    assert (found.progress, found.seconds, found.normalised) == (30, 3.0, 0.5)
    assert (found.train_return, found.evaluation_return) == (4.0, 6.0)


def test_a_trial_that_is_stopped_by_a_scheduler_is_marked_as_such(world: World, tmp_path: Path):
    world.call("result", result=row(FIRST, 50))
    assert world.call("complete").state == CUT
    assert (tmp_path / FIRST.name / "stopped.json").read_text() == '{"by": "scheduler"}\n'
    assert [trial.state for trial in world.told] == [CUT]


def test_a_finished_trial_is_not_marked_as_stopped(world: World, tmp_path: Path):
    world.call("result", result=row(FIRST, LENGTH))
    world.call("complete")
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_saved_itself_at_a_stop_waits_for_another_day(world: World, tmp_path: Path):
    world.stop.is_wanted = True
    world.call("result", result=row(FIRST, 50))
    world.step()
    assert world.call("complete").state == WAITING
    assert (list(tmp_path.iterdir()), world.told) == ([], [])


def test_a_failed_trial_tells_the_last_line_of_its_error(world: World):
    world.trials[1].get_error = lambda: "Traceback\n  File x\nValueError: no luck\n\n"
    found = world.call("error", 1)
    assert (found.state, found.error) == (FAILED, "ValueError: no luck")
    assert world.told == [found]


def test_an_error_that_cannot_be_read_is_told_all_the_same(world: World):
    def get_error() -> str:
        raise ModuleNotFoundError("No module named 'mine'")

    world.trials[0].get_error = get_error
    assert world.call("error").error == "ModuleNotFoundError: No module named 'mine'"


def test_a_trial_that_recovers_is_counted_and_runs_again(world: World):
    world.call("start")
    found = world.call("recover")
    assert (found.state, found.num_failures) == (WAITING, 1)
    assert world.call("start").state == RUNNING


def test_a_trial_that_a_searcher_adds_gets_a_status(world: World, tmp_path: Path):
    added = TrialSpec(game="Pong", seed=0, settings={"td_steps": 3})
    world.trials.append(world.trial(added, tmp_path))
    found = world.call("start", 2)
    assert (found.spec, found.state, found.length) == (added, RUNNING, 7)


def test_a_step_draws(world: World):
    world.step()
    world.step()
    assert world.num_shows == 2


def test_the_monitor_tells_between_rows(world: World):
    world.call("start")
    told = {"activity": "evaluating", "progress": 40, "train_return": 3.0}
    world.answer = {FIRST.name: told, SECOND.name: told, "unknown": told}
    world.step()
    world.step()
    first, second = world.status.trials.values()
    assert (first.activity, first.progress, first.train_return) == ("evaluating", 40, 3.0)
    assert (second.activity, second.progress, second.train_return) == ("", 0, None)


def test_what_the_monitor_tells_late_takes_nothing_back(world: World):
    world.call("result", result=row(FIRST, 50, train_return=9.0))
    world.answer = {FIRST.name: {"activity": "training", "progress": 40, "train_return": None}}
    world.step()
    world.step()
    assert world.status.trials[FIRST.name].progress == 50
    assert world.status.trials[FIRST.name].train_return == 9.0


def test_a_dead_monitor_is_no_harm(world: World):
    world.answer = ActorDiedError()
    for _ in range(4):
        world.step()
    assert world.num_shows == 4


def test_a_wish_to_stop_is_passed_on_once(world: World):
    world.step()
    assert (world.num_stops, world.status.is_stopping) == (0, False)
    world.stop.is_wanted = True
    world.step()
    world.step()
    assert (world.num_stops, world.status.is_stopping) == (1, True)


def test_the_sweep_ends_when_every_running_trial_was_saved(world: World):
    world.call("save")
    world.stop.is_wanted = True
    world.step()
    assert not world.ending.stop_all()
    world.call("save")
    assert not world.ending.stop_all()
    world.call("save", 1)
    assert world.ending.stop_all()


def test_trials_that_do_not_run_are_not_waited_for(world: World):
    world.trials[1].status = "PENDING"
    world.stop.is_wanted = True
    world.step()
    world.call("save")
    assert world.ending.stop_all()


@pytest.mark.parametrize("how", ["error", "complete"])
def test_trials_that_end_after_the_wish_are_not_waited_for(world: World, how: str):
    world.stop.is_wanted = True
    world.step()
    world.call("save")
    world.call(how, 1)
    assert world.ending.stop_all()


def test_the_sweep_ends_when_time_is_up(world: World):
    world.stop.is_wanted = True
    world.step()
    world.now += GRACE
    assert not world.ending.stop_all()
    world.now += 0.1
    assert world.ending.stop_all()


def test_nothing_ends_without_a_wish(world: World):
    world.ending.saved(FIRST.name)
    world.now += 100 * GRACE
    assert not world.ending.stop_all()
    assert not world.ending("id", row(FIRST, LENGTH))


def test_the_time_left_follows_the_pace_of_this_call(world: World):
    first, second = world.status.trials.values()
    first.began_at = first.progress = 40
    assert world.status.seconds_left is None
    world.now += 10
    first.progress, second.progress = 50, 10  # 20 steps in 10 s, 140 to go
    assert (world.status.done, world.status.length) == (60, 2 * LENGTH)
    assert world.status.seconds_left == pytest.approx(70)


@pytest.mark.parametrize("state", [CUT, FAILED])
def test_a_trial_that_ended_early_leaves_nothing_to_do(world: World, state: str):
    first, second = world.status.trials.values()
    first.progress, second.progress, first.state = 25, 50, state
    world.now += 75
    assert world.status.length == 25 + LENGTH
    assert world.status.seconds_left == pytest.approx(50)


def test_tune_pickles_nothing_of_it(world: World):
    found = pickle.loads(pickle.dumps(world.watcher))
    assert type(found) is Callback


@pytest.mark.parametrize(("is_whole", "left"), [(True, [2]), (False, [0, 1, 2])])
def test_of_a_finished_trial_the_newest_checkpoint_stays_if_whole(
    world: World, tmp_path: Path, is_whole: bool, left: list[int]
):
    paths = [tmp_path / f"part_0{n}" / FIRST.name / f"checkpoint_00000{i}" for n, i in CHECKPOINTS]
    for path in paths:
        path.mkdir(parents=True)
        if is_whole:
            seal(path)
    world.trials[0].last_result = {"finished": True}
    world.call("complete")
    assert [place for place, path in enumerate(paths) if path.exists()] == left

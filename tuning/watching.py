"""What goes on in a sweep, kept up to date by Tune's callbacks for whoever draws it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayError
from ray.tune import Callback, Stopper

from rllib_ez.runs.stop import Stop
from tuning.monitor import EVERY_SECONDS
from tuning.reading import STOPPED, last_line
from tuning.searching import spec_of
from tuning.specs import TrialSpec
from tuning.storage import Folder

WAITING, RUNNING, FINISHED, CUT, FAILED = (
    "waiting",
    "running",
    "finished",
    "stopped early",
    "failed",
)


@dataclass(slots=True, kw_only=True)
class TrialStatus:
    """How one trial stands."""

    spec: TrialSpec
    length: int  # progress at its end
    state: str = WAITING
    activity: str = ""
    progress: int = 0
    began_at: int = 0  # progress when this call began
    train_return: float | None = None
    evaluation_return: float | None = None
    normalised: float | None = None
    seconds: float = 0.0
    error: str = ""
    num_failures: int = 0

    def take(self, row: Mapping[str, Any]) -> None:
        """Takes in a row."""
        self.progress = row["progress"]
        self.train_return, self.evaluation_return = row["train_return"], row["evaluation_return"]
        self.normalised, self.seconds = row["normalised_return"], row["seconds"]


@dataclass(slots=True, kw_only=True)
class SweepStatus:
    """How all of them stand."""

    trials: dict[str, TrialStatus]  # by name
    began: float = field(default_factory=time.monotonic)
    is_stopping: bool = False

    def count(self, state: str) -> int:
        """How many trials are in it."""
        return sum(trial.state == state for trial in self.trials.values())

    @property
    def done(self) -> int:
        """Progress of all trials."""
        return sum(trial.progress for trial in self.trials.values())

    @property
    def length(self) -> int:
        """What it will be at the end; a trial that ended early needs no more."""
        ended = (CUT, FAILED)
        return sum(t.progress if t.state in ended else t.length for t in self.trials.values())

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this call so far; None before there is one."""
        made = self.done - sum(trial.began_at for trial in self.trials.values())
        passed = time.monotonic() - self.began
        return passed / made * (self.length - self.done) if made > 0 else None


class SweepView(Protocol):
    """Shows a sweep while it changes."""

    def show(self) -> None:
        """Takes notice that the status changed."""

    def tell(self, trial: TrialStatus) -> None:
        """Takes notice that a trial ended."""


class Watcher(Callback):
    """Keeps the status; passes a wish to stop on to the trials."""

    def __init__(
        self,
        status: SweepStatus,
        view: SweepView,
        *,
        monitor: Any,
        stop: Stop,
        ending: Ending,
        folder: Folder,
        new_status: Callable[[TrialSpec], TrialStatus],
    ) -> None:
        self.status, self._view = status, view
        self._monitor, self._stop, self._ending = monitor, stop, ending
        self._folder, self._new_status = folder, new_status
        self._asked_at = 0.0
        self._answer: Any = None

    def __reduce__(self) -> Any:
        """Nothing of it: Tune pickles callbacks for its own way to resume, which is not ours."""
        return Callback, ()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Asks how trials stand; tells them to stop if somebody wishes so."""
        self._listen()
        if self._stop.is_wanted and not self.status.is_stopping:
            self.status.is_stopping = True
            self._monitor.stop.remote()
            running = [self._of(trial).spec.name for trial in trials if trial.status == "RUNNING"]
            self._ending.begin(running)
        self._view.show()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A process was found for it."""
        self._of(trial).state = RUNNING

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """A row."""
        status = self._of(trial)
        status.state = RUNNING
        status.take(result)
        status.activity = ""

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A checkpoint was written."""
        self._ending.saved(self._of(trial).spec.name)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It came to its end, or was stopped."""
        status = self._of(trial)
        self._ending.saved(status.spec.name)
        if (trial.last_result or {}).get("finished"):
            status.state = FINISHED
            self._drop_checkpoints(status.spec.name)
        elif self.status.is_stopping:
            status.state = WAITING
            return
        else:
            status.state = CUT
            trial_folder(trial).write(STOPPED, '{"by": "scheduler"}\n')
        self._view.tell(status)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed, and goes on from its checkpoint."""
        status = self._of(trial)
        status.num_failures += 1
        status.state = WAITING

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed for good."""
        status = self._of(trial)
        status.state, status.error = FAILED, error_of(trial)
        self._ending.saved(status.spec.name)
        self._view.tell(status)

    def _of(self, trial: Any) -> TrialStatus:
        spec = spec_of(trial.config)
        if spec.name not in self.status.trials:
            self.status.trials[spec.name] = self._new_status(spec)
        return self.status.trials[spec.name]

    def _drop_checkpoints(self, name: str) -> None:
        """Keeps the newest of a finished trial, over all parts, once it is whole."""
        parts = self._folder.folders(r"part_\d+")
        trials = [trial for part in parts for trial in part.folders(re.escape(name))]
        found = [one for trial in trials for one in trial.folders(r"checkpoint_\d+")]
        if found and found[-1].is_whole():
            for older in found[:-1]:
                older.delete()

    def _listen(self) -> None:
        if self._answer is None:
            if time.monotonic() - self._asked_at >= EVERY_SECONDS:
                self._asked_at = time.monotonic()
                self._answer = self._monitor.read.remote()
            return
        if not ray.wait([self._answer], timeout=0)[0]:
            return
        try:
            self._take_in(ray.get(self._answer))
        except RayError:
            pass  # rows still tell how trials stand
        self._answer = None

    def _take_in(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        for name, status in told.items():
            trial = self.status.trials.get(name)
            if trial is None or trial.state != RUNNING:
                continue
            trial.activity = status["activity"]
            trial.progress = max(trial.progress, status.get("progress", 0))
            if status.get("train_return") is not None:
                trial.train_return = status["train_return"]


class Ending(Stopper):
    """Ends the sweep once every running trial was saved after the wish, or time is up."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._unsaved: set[str] | None = None
        self._began = 0.0

    def begin(self, running: Sequence[str]) -> None:
        """From now on it waits for these trials."""
        self._unsaved, self._began = set(running), time.monotonic()

    def saved(self, name: str) -> None:
        """A checkpoint of this trial was written, or it ended."""
        if self._unsaved is not None:
            self._unsaved.discard(name)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Whether it is time."""
        if self._unsaved is None:
            return False
        return not self._unsaved or time.monotonic() - self._began > self._grace


def trial_folder(trial: Any) -> Folder:
    """Where Tune keeps a trial's files."""
    storage = trial.storage
    return Folder(storage.storage_filesystem, storage.trial_fs_path)


def error_of(trial: Any) -> str:
    """What the error of a trial says in the end."""
    try:
        return last_line(str(trial.get_error() or "")) or ""
    except Exception as error:  # a pickled error of a class that is not here
        return f"{type(error).__name__}: {error}"

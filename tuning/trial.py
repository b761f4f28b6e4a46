"""One trial on Tune: the very run that `ez train` would do, a row at a time."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from rllib_ez.core.agent_card import write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.progress import PROGRESS
from rllib_ez.runs.building import algorithm_for, prepare_search
from rllib_ez.runs.evaluation import Evaluator
from rllib_ez.runs.folder import cut_progress
from rllib_ez.runs.plan import Plan
from rllib_ez.runs.provenance import machines_of, write_machines
from rllib_ez.runs.records import RowFile, finite
from rllib_ez.runs.status import Status
from rllib_ez.runs.stop import Stopped
from rllib_ez.runs.training import Training, passed
from tuning.monitor import Reporter
from tuning.reading import CHECKPOINT_ROWS
from tuning.rows import Row, joined
from tuning.searching import spec_of
from tuning.specs import TrialSpec
from tuning.storage import seal
from tuning.suites import Suite

PARTS = 50  # a trial reports about so many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What every trial of a sweep must know; travels to them once."""

    suite: Suite
    plans: Mapping[str, Plan]  # by game, without seed and settings of a search
    filesystem: Any  # of the sweep's folder
    earlier: Mapping[str, str] = field(default_factory=dict)  # by name: a checkpoint
    monitor: Any = None  # handle of a `Monitor`
    keeps_replay: bool = False  # also of finished trials, which nothing goes on from


class Trial(tune.Trainable):
    """Builds its algorithm at the first step, or when Tune hands it a checkpoint."""

    def setup(self, config: dict[str, Any], sweep: Sweep | None = None) -> None:
        """Learns what it is to train; see `Sweep`."""
        assert sweep is not None
        self._sweep = sweep
        self._spec = spec_of(config)
        self._run: TrialRun | EndedRun | None = None

    def step(self) -> Row:
        """Trains up to the next row."""
        if self._run is None:
            self._begin()
        assert self._run is not None
        row = self._run.next_row()
        return row | {"done": row["finished"], "should_checkpoint": self._run.is_due_for_saving}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes everything, the rows so far too."""
        assert self._run is not None
        self._run.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Goes on from what `save_checkpoint` wrote."""
        self._open(Path(checkpoint))

    def cleanup(self) -> None:
        """Stops the algorithm with its actors."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def _begin(self) -> None:
        """Anew, or from the checkpoint of an attempt in an earlier part."""
        path = self._sweep.earlier.get(self._spec.name)
        if path is None:
            self._open(None)
            return
        with tune.Checkpoint(path, self._sweep.filesystem).as_directory() as folder:
            self._open(Path(folder))

    def _open(self, checkpoint: Path | None) -> None:
        self.cleanup()
        rows = read_rows(checkpoint)
        if rows and rows[-1]["finished"]:
            self._run = EndedRun(rows[-1])
            return
        reporter = Reporter(self._sweep.monitor, self._spec.name)
        self._run = TrialRun(self._sweep, self._spec, Path(self.logdir), checkpoint, reporter)


class TrialRun:
    """A run under way in a trial's process."""

    def __init__(
        self,
        sweep: Sweep,
        spec: TrialSpec,
        folder: Path,
        checkpoint: Path | None,
        reporter: Reporter,
    ) -> None:
        start = time.monotonic()
        self._suite, self._spec, self._folder = sweep.suite, spec, folder
        self._reporter, self._keeps_replay = reporter, sweep.keeps_replay
        self._plan = spec.plan(sweep.plans)
        self._attempt = secrets.token_hex(4)
        self._rows = read_rows(checkpoint)
        reporter.tell({"activity": "setting up"}, now=True)
        with ExitStack() as stack:
            self._training = self._built(stack, checkpoint)
            self._stack = stack.pop_all()
        self._resumed_at = self._training.progress if checkpoint is not None else 0
        self._machines = machines_of(checkpoint, self._plan, resumed_at=self._resumed_at)
        before = self._rows[-1] if self._rows else {}
        self._seconds = {
            name: before.get(name, 0.0) for name in ("training_seconds", "evaluation_seconds")
        }
        self._setup_seconds = before.get("setup_seconds", 0.0) + time.monotonic() - start
        self._saved_at = self._training.progress
        self._has_told_stop = False
        self.is_due_for_saving = False

    def next_row(self) -> Row:
        """Trains until a row is due: at a fiftieth of the run, after an evaluation, at its end."""
        training, plan = self._training, self._plan
        before, evaluated_at = training.progress, training.evaluated_at
        ended = training.num_train_episodes
        every = max(1, plan.length // PARTS)
        while not training.is_finished:
            training.advance(self)
            self._tell()
            if training.evaluated_at != evaluated_at or self.is_wanted:
                break
            if passed(before, training.progress, every) and not training.is_done:
                break
        is_new = training.evaluated_at != evaluated_at
        row = self._row(training.num_train_episodes - ended, is_evaluated=is_new)
        if self._rows and self._rows[-1]["progress"] == row["progress"]:  # it had been stopped here
            row["train_episodes"] += self._rows[-1]["train_episodes"]
        self._rows = joined([*self._rows, row])
        self.is_due_for_saving = self._is_due(row)
        return row

    @property
    def is_wanted(self) -> bool:
        """Whether the sweep is to stop; asked between chunks of work."""
        self._tell()
        return self._reporter.is_wanted

    def check(self) -> None:
        """Raises Stopped if so; asked between steps of an evaluation."""
        if self.is_wanted:
            raise Stopped

    def save(self, folder: Path) -> None:
        """Writes a checkpoint, sealed by its manifest; of a finished run the agent alone."""
        algo = self._training.algo
        if self._training.is_finished and not self._keeps_replay:
            write_agent(folder / FOLDER, algo.agent_card(), algo.learner_weights())
        else:
            algo.pipeline.quiesce()
            algo.save_to_path(folder)
        write_rows(folder, self._rows)
        write_machines(folder, self._machines)
        self._training.recorder.copy_to(folder)
        seal(folder)
        self._saved_at = self._training.progress

    def close(self) -> None:
        """Stops the algorithm."""
        self._stack.close()

    def _built(self, stack: ExitStack, checkpoint: Path | None) -> Training:
        folder, plan = self._folder, self._plan
        algo = stack.enter_context(algorithm_for(plan, folder, resume_from=checkpoint))
        prepare_search(algo)
        at = {"env_steps": algo.pipeline.num_env_steps, "updates": algo.pipeline.num_updates}
        if checkpoint is not None:
            shutil.copyfile(checkpoint / PROGRESS, folder / PROGRESS)
        rows = cut_progress(folder, **at)
        num_episodes = plan.settings["evaluation_duration"]
        evaluator = stack.enter_context(Evaluator(algo.agent_card(), num_episodes))
        recorder = stack.enter_context(RowFile(folder))
        status = Status(title=self._spec.name, length=plan.length, unit=plan.unit)
        return Training(
            algo, plan, folder, evaluator, recorder, status, Unseen(),
            checkpoint=checkpoint, rows_before=rows,
        )  # fmt: skip

    def _is_due(self, row: Row) -> bool:
        is_first_of_stop = self.is_wanted and not self._has_told_stop
        self._has_told_stop = self.is_wanted
        progress = self._training.progress
        is_passed = passed(self._saved_at, progress, self._plan.checkpoint_every)
        return bool(row["finished"]) or is_first_of_stop or is_passed

    def _row(self, num_episodes: int, *, is_evaluated: bool) -> Row:
        training, returns = self._training, self._training.returns
        evaluation = sum(returns) / len(returns) if returns else None
        train_return = training.status.train_return
        value = train_return if evaluation is None else evaluation
        spec = self._spec
        normalised = None if value is None else self._suite.normalise(spec.game, value)
        row = {
            "game": spec.game,
            "seed": spec.seed,
            "sample": spec.sample,
            "attempt": self._attempt,
            "resumed_at": self._resumed_at,
            "progress": training.progress,
            "length": self._plan.length,
            "env_steps": training.env_steps,
            "updates": training.updates,
            "finished": training.is_finished,
            "seconds": round(training.seconds, 3),
            "setup_seconds": round(self._setup_seconds, 3),
            "training_seconds": self._total("training_seconds"),
            "evaluation_seconds": self._total("evaluation_seconds"),
            "train_episodes": num_episodes,
            "train_return": train_return,
            "evaluation_return": evaluation,
            "evaluation_returns": (returns or []) if is_evaluated else [],
            "evaluated_at": training.evaluated_at if returns else None,
            "return": value,
            "normalised_return": normalised,
            "total_loss": training.status.losses.get("total"),
            "replay_bytes": training.status.replay_bytes,
        }
        return dict(finite(row))

    def _total(self, name: str) -> float:
        return round(self._seconds[name] + getattr(self._training, name), 3)

    def _tell(self) -> None:
        training = self._training
        self._reporter.tell(
            {
                "activity": training.status.activity,
                "progress": training.progress,
                "train_return": training.status.train_return,
                "progress_per_second": training.status.progress_per_second,
            }
        )


class EndedRun:
    """A run that was finished before; a searcher asks for its last row again."""

    is_due_for_saving = False

    def __init__(self, row: Row) -> None:
        self._row = row

    def next_row(self) -> Row:
        """The last one."""
        return self._row

    def save(self, folder: Path) -> None:
        """Nothing: its checkpoint is where it was."""

    def close(self) -> None:
        """Nothing."""


class Unseen:
    """The view of a run that nobody looks at here."""

    def __enter__(self) -> Unseen:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, *, now: bool = False) -> None:
        """Nothing."""


def read_rows(checkpoint: Path | None) -> list[Row]:
    """The rows up to a checkpoint."""
    if checkpoint is None:
        return []
    return [json.loads(line) for line in (checkpoint / CHECKPOINT_ROWS).read_text().splitlines()]


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Keeps the rows in a checkpoint."""
    (folder / CHECKPOINT_ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))

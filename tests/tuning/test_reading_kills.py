"""A trial that is killed at random reads back as it truly was."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tuning.sweeps import (
    CARTPOLE,
    EVERY,
    LENGTH,
    rows,
    write_attempt,
    write_checkpoint,
    write_order,
)
from tuning.reading import read_sweep
from tuning.report.model import Run
from tuning.rows import Row


def only_run(folder: Path) -> Run:
    (run,) = read_sweep(folder).runs
    return run


class KilledTrial:
    """A trial that is killed again and again, as it truly was and as its folders have it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.part, self.number = write_order(folder), 1, 0
        self.saved: list[Row] = []  # of the newest whole checkpoint
        self.lineages: list[list[Row]] = []  # a process each

    def attempt(self, num_rows: int, *, saves: list[tuple[int, bool]]) -> tuple[Path, list[Row]]:
        """Goes on from the newest checkpoint, for so many rows and checkpoints at these rows."""
        start = self.saved[-1]["progress"] if self.saved else 0
        name = str(len(self.lineages))
        told = rows(CARTPOLE, attempt=name, resumed_at=start, since=start)[:num_rows]
        lineage = [*self.saved, *told]
        self.lineages.append(lineage)
        trial = write_attempt(self.folder, CARTPOLE, [], part=self.part)
        for at, is_whole in saves:
            if start // EVERY < at <= len(lineage):
                self.save(trial, lineage[:at], is_whole=is_whole)
        return trial, told

    def save(self, trial: Path, lineage: list[Row], *, is_whole: bool) -> None:
        write_checkpoint(trial, self.number, lineage, is_whole=is_whole)
        self.number += 1
        self.saved = lineage if is_whole else self.saved
        for old in sorted(trial.glob("checkpoint_*"))[:-3]:
            shutil.rmtree(old)

    def broken_off(
        self, num_rows: int, saves: list[tuple[int, bool]], driver_loses: tuple[int, int] | None
    ) -> None:
        """An attempt whose process dies, alone or with the driver and the end of what it told."""
        _, told = self.attempt(num_rows, saves=saves)
        lost, cut = driver_loses or (0, 0)
        lost = min(lost, len(told))
        cut = cut if lost else 0
        kept = told[: len(told) - lost + (cut > 0)]
        write_attempt(self.folder, CARTPOLE, kept, part=self.part, cut=cut)
        if driver_loses is not None:
            self.part, self.number = self.part + 1, 0

    def finish(self, *, is_saved: bool) -> None:
        """The last attempt, which nothing happens to."""
        end = LENGTH // EVERY
        _, told = self.attempt(end, saves=[(end, is_saved)])
        write_attempt(self.folder, CARTPOLE, told, part=self.part)


BROKEN_OFF = st.tuples(
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=2).map(sorted),
    # Rows at the end that are lost with the driver (9: all), and how much of the last line is.
    st.none() | st.tuples(st.integers(0, 4) | st.just(9), st.sampled_from([0, 1, 2, 40])),
)


@given(attempts=st.lists(BROKEN_OFF, max_size=6), is_saved=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_trial_reads_back_as_it_was_whatever_was_killed(attempts: list[Any], is_saved: bool):
    with TemporaryDirectory() as folder:
        trial = KilledTrial(Path(folder))
        for attempt in attempts:
            trial.broken_off(*attempt)
        trial.finish(is_saved=is_saved)
        run = only_run(Path(folder))
    assert run.rows == trial.lineages[-1]
    assert [row["progress"] for row in run.rows] == [*range(EVERY, LENGTH + 1, EVERY)]


# The second process saved after its first row, and all that it told was lost with the driver.
@example(attempts=[(2, [], None), (1, [(1, True)], (9, 0))])
@given(attempts=st.lists(BROKEN_OFF, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_an_unfinished_trial_reads_as_one_of_its_processes_had_it(attempts: list[Any]):
    with TemporaryDirectory() as folder:
        trial = KilledTrial(Path(folder))
        for attempt in attempts:
            trial.broken_off(*attempt)
        run = only_run(Path(folder))
    assert run.rows[: len(trial.saved)] == trial.saved
    assert any(run.rows == lineage[: len(run.rows)] for lineage in trial.lineages)

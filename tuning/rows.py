"""The rows of a sweep: what a trial reports, and how the rows of several attempts become one run.

Every key is there from the first row on (a CSV file's columns are those of its first row):

game, seed, sample     which trial: see `TrialSpec`
attempt                an id of the process that wrote it; a trial that was broken off has several
resumed_at             the progress that this process began with; 0 for a new trial
progress, length       how far it is and how far it goes: env steps, unless updates come first
env_steps, updates     counted over all attempts
finished               whether it is the last row
seconds                wall clock of all attempts, without set-up
setup_seconds, training_seconds, evaluation_seconds
                       of all attempts: building; rounds of training alone; evaluation
train_episodes         that ended since the row before
train_return           mean of the last ten episodes of training; None before one has ended
evaluation_return      mean of the last evaluation; None before the first. A row follows every
                       evaluation, so that rows have them all
evaluation_returns     of the episodes of an evaluation that belongs to this row, else []
evaluated_at           progress at the last evaluation; None before the first
return                 evaluation_return, or while there is none train_return
normalised_return      `return` between the suite's random (0) and reference (1); None without
total_loss             of the last update; None before the first
replay_bytes           held by replay

Tune adds keys of its own, which nothing here reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
# The above in its order; Tune's own are left out.
ROW_KEYS = (
    *("game", "seed", "sample", "attempt", "resumed_at", "progress", "length", "env_steps"),
    *("updates", "finished", "seconds", "setup_seconds", "training_seconds"),
    *("evaluation_seconds", "train_episodes", "train_return", "evaluation_return"),
    *("evaluation_returns", "evaluated_at", "return", "normalised_return", "total_loss"),
    "replay_bytes",
)


def joined(rows: Iterable[Row]) -> list[Row]:
    """The rows of all attempts at one trial as those of one run: none twice, none out of date.

    A process that goes on from a checkpoint takes back what was reported after it.

    Args:
        rows: of one trial, in the order in which they were written.
    """
    kept: list[Row] = []
    attempt = None
    for row in rows:
        if row["attempt"] != attempt:
            attempt = row["attempt"]
            kept = [old for old in kept if old["progress"] <= row["resumed_at"]]
        while kept and kept[-1]["progress"] >= row["progress"]:
            kept.pop()
        kept.append(row)
    return kept

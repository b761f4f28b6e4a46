"""What a run leaves behind: progress.jsonl, a row flushed at a time, and TensorBoard files.

Rows after a round: {"env_steps", "updates", "seconds", "train_episodes", "train_return_mean" (of
the episodes that ended in it), "losses", "replay_bytes", "training_seconds" (in rounds), "stages"
(seconds by role and stage)}; after an evaluation: {"env_steps", "updates", "seconds",
"evaluation": {"return_mean", "returns"}}. All seconds go on counting where a run is resumed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from rllib_ez.core.progress import PROGRESS
from rllib_ez.runs.folder import TENSORBOARD

_NO_METRICS = {"config", "hostname", "node_ip", "pid", "trial_id", "date", "timestamp"}


class RowFile:
    """Writes progress.jsonl."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._rows = self._path.open("a")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.close()

    def row(self, values: Mapping[str, Any]) -> None:
        """Appends one row."""
        self._rows.write(json.dumps(finite(values)) + "\n")
        self._rows.flush()

    def board(self, result: Mapping[str, Any], progress: int) -> None:
        """Nothing: RLlib's many numbers are for TensorBoard."""

    def copy_to(self, folder: Path) -> None:
        """Keeps the rows so far elsewhere."""
        shutil.copyfile(self._path, folder / PROGRESS)


class Recorder(RowFile):
    """TensorBoard files as well. Their names are RLlib's, their steps are the run's progress."""

    def __init__(self, folder: Path, *, from_progress: int = 0) -> None:
        from tensorboardX import SummaryWriter

        super().__init__(folder)
        self._board = SummaryWriter(
            str(folder / TENSORBOARD), purge_step=from_progress + 1 if from_progress else None
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._board.close()

    def board(self, result: Mapping[str, Any], progress: int) -> None:
        """Writes every number of a nested result, its keys joined by slashes."""
        for name, value in numbers(result):
            self._board.add_scalar(name, value, progress)


def numbers(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of a nested result with their paths."""
    for key, value in result.items():
        if not prefix and key in _NO_METRICS:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from numbers(value, f"{name}/")
        elif (number := as_number(value)) is not None:
            yield name, number


def as_number(value: Any) -> float | None:
    """A finite float, or None."""
    if isinstance(value, str | bytes | bool) or not hasattr(value, "__float__"):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

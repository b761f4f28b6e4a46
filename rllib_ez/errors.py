"""The exceptions that reach a person.

EfficientZeroError
├── SettingError           a setting's name or value is wrong                exit 2, HTTP 422
├── EnvironmentSpecError   the environment cannot be made or is not for us   exit 2, HTTP 422
├── ObservationError       an observation does not fit the agent's space     exit 2, HTTP 422
├── CheckpointError        a checkpoint is missing, foreign, newer or torn   exit 3, HTTP 404
├── ArchiveError           an archive is missing, newer, of another shape,
│                          or cannot be written                              exit 3, HTTP 404
├── MemoryBudgetError      replay cannot fit where it was asked to           exit 4, HTTP 503
├── EnvironmentCrashError  an environment raises again and again             exit 5, HTTP 500
└── WorkerLostError        a process with what cannot be made anew is gone   exit 6, HTTP 503
"""

from __future__ import annotations


class EfficientZeroError(Exception):
    """Base of all errors that are the caller's to mend; its text says how."""

    exit_code = 1
    http_status = 500


class SettingError(EfficientZeroError, ValueError):
    """A setting has an unknown name or a value outside its range."""

    exit_code = 2
    http_status = 422


class EnvironmentSpecError(EfficientZeroError, ValueError):
    """The environment is unknown, or its spaces are not supported."""

    exit_code = 2
    http_status = 422


class ObservationError(EfficientZeroError, ValueError):
    """An observation has another shape, dtype or range than the agent was trained on."""

    exit_code = 2
    http_status = 422


class CheckpointError(EfficientZeroError):
    """A checkpoint is missing, from another program, from a newer version, or incomplete."""

    exit_code = 3
    http_status = 404


class ArchiveError(EfficientZeroError):
    """An archive of episodes is missing, newer, of another shape, or cannot be written."""

    exit_code = 3
    http_status = 404


class MemoryBudgetError(EfficientZeroError):
    """Replay would not fit into the memory that is there."""

    exit_code = 4
    http_status = 503


class EnvironmentCrashError(EfficientZeroError):
    """An environment raised while it was played."""

    exit_code = 5
    http_status = 500


class WorkerLostError(EfficientZeroError):
    """A learner or a replay shard died: the run goes on from its last checkpoint."""

    exit_code = 6
    http_status = 503

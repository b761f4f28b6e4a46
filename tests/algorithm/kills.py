"""Kills workers for real, and looks at what is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def pid_of(worker: Any) -> int:
    """The process of a remote worker."""
    import ray

    pid: int = ray.get(worker.target.__ray_call__.remote(own_pid))
    return pid


def own_pid(actor: Any) -> int:
    return os.getpid()


def kill(worker: Any) -> None:
    """As the kernel does when memory runs out."""
    os.kill(pid_of(worker), signal.SIGKILL)


def call(worker: Any, function: Callable[[Any], Any]) -> Any:
    """What `function` says of the object behind a worker, here or elsewhere."""
    import ray

    if worker.is_remote:
        return ray.get(worker.target.__ray_call__.remote(function))
    return function(worker.target)


def replay_of(algorithm: Any) -> Any:
    """The replay of a run in one process."""
    return algorithm.pipeline.shards.workers[0].target.shard.replay


def check_replay(worker: Any) -> int:
    """Checks every invariant of a shard; returns its env steps."""
    return int(call(worker, lambda target: checked(target.shard.replay)))


def checked(replay: Any) -> int:
    replay.check_valid()
    return int(replay.num_steps_added)


def train_until(algorithm: Any, done: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Trains until something has happened."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, algorithm.pipeline.counts()
        algorithm.train()


def assert_exact(algorithm: Any) -> None:
    """Every env step that replay holds has been paid, no more and no less."""
    algorithm.finish_updates()
    pipeline = algorithm.pipeline
    steps = sum(check_replay(worker) for worker in pipeline.shards.workers)
    assert pipeline.num_env_steps == steps
    assert pipeline.num_updates == int(steps * pipeline.credits.ratio)
    assert pipeline.credits.steps_under_way == 0
    assert all(
        call(learner, num_updates) == pipeline.num_updates for learner in pipeline.learning.learners
    )


def num_updates(learner: Any) -> int:
    return int(learner.num_updates)

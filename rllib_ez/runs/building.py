"""The algorithm for one run, in a process where Ray is up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.core.engines import pick_device, warm_up
from rllib_ez.runs.allocator import keep_freed_memory
from rllib_ez.runs.plan import Plan


@contextmanager
def algorithm_for(
    plan: Plan, folder: Path, *, resume_from: Path | None = None
) -> Iterator[EfficientZero]:
    """Builds the algorithm of a plan and stops it at the end.

    Args:
        plan: what is to be trained.
        folder: of the run.
        resume_from: a checkpoint to restore.

    Raises:
        CheckpointError: it is not one, or not of this plan.
    """
    keep_freed_memory()
    if plan.threads:
        torch.set_num_threads(plan.threads)
    algo = plan.config(folder).debugging(log_level="ERROR").build_algo()
    with suppress(OSError):  # the folder in ~/ray_results that Tune makes for every algorithm
        os.rmdir(algo.logdir)
    try:
        if resume_from is not None:
            algo.restore_from_path(str(resume_from))
        yield algo
    finally:
        algo.stop()


def prepare_search(algo: EfficientZero) -> None:
    """Compiles what this machine has not compiled yet: once here, not in every env runner."""
    config = algo.config
    warm_up(
        algo.agent_card().model,
        device=pick_device(config.inference_device),
        engine=config.inference_engine,
    )

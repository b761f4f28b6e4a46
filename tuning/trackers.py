"""Experiment trackers of others: Weights & Biases, MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from rllib_ez.errors import SettingError


def trackers_of(projects: Mapping[str, str | None], *, name: str) -> list[Any]:
    """Callbacks of Tune for the trackers that are wanted.

    Args:
        projects: project or experiment by tracker, "wandb" and "mlflow"; None: not wanted.
        name: of the sweep: trials are grouped under it.

    Raises:
        SettingError: one is wanted that is not installed.
    """
    wanted = {tracker: project for tracker, project in projects.items() if project is not None}
    for tracker in wanted:
        if find_spec(tracker) is None:
            raise SettingError(
                f"{tracker} must be installed to log to it, got --{tracker} without; "
                f"pip install {tracker}"
            )
    found: list[Any] = []
    if "wandb" in wanted:
        from ray.air.integrations.wandb import WandbLoggerCallback

        found.append(WandbLoggerCallback(project=wanted["wandb"], group=name))
    if "mlflow" in wanted:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        tags = {"sweep": name}
        found.append(MLflowLoggerCallback(experiment_name=wanted["mlflow"], tags=tags))
    return found

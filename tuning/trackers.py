"""Experiment trackers of others: Weights & Biases, MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rllib_ez.errors import SettingError


def trackers_of(projects: Mapping[str, str | None], *, sweep: str) -> list[Any]:
    """Callbacks of Tune for the trackers that are wanted.

    Args:
        projects: project or experiment by tracker, "wandb" and "mlflow"; None: not wanted.
        sweep: path or URI of its folder: trials are grouped under it.

    Raises:
        SettingError: one is wanted that is not installed, or does not answer.
    """
    wanted = {tracker: project for tracker, project in projects.items() if project is not None}
    for tracker in wanted:
        if find_spec(tracker) is None:
            raise SettingError(
                f"{tracker} must be installed to log to it, got --{tracker} without; "
                f"pip install {tracker}"
            )
    makers = {"wandb": wandb_callback, "mlflow": mlflow_callback}
    return [makers[tracker](project, sweep) for tracker, project in wanted.items()]


def wandb_callback(project: str, sweep: str) -> Any:
    """Weights & Biases; what waits to be uploaded lies in the sweep's folder."""
    from ray.air.integrations.wandb import WandbLoggerCallback

    more = {}
    if "://" not in sweep:  # else in the trial's own folder, which ends with Ray
        waiting = Path(sweep).absolute() / "wandb"
        waiting.mkdir(parents=True, exist_ok=True)
        more["dir"] = str(waiting)
    return WandbLoggerCallback(project=project, group=sweep, **more)


def mlflow_callback(experiment: str, sweep: str) -> Any:
    """MLflow, where its own environment variables say.

    Raises:
        SettingError: no tracking store answers there.
    """
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    mlflow = import_module("mlflow")
    try:
        mlflow.search_experiments(max_results=1)
    except Exception as error:
        raise SettingError(
            f"mlflow must find a tracking store at {mlflow.get_tracking_uri()}, got "
            f"{type(error).__name__}: {error}; set MLFLOW_TRACKING_URI"
        ) from error
    return MLflowLoggerCallback(experiment_name=experiment, tags={"sweep": sweep})

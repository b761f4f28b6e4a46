from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuning.trackers
from rllib_ez.errors import SettingError
from tuning.trackers import trackers_of

WANDB = {
    "wandb": [],
    "wandb.sdk": [],
    "wandb.sdk.data_types": [],
    "wandb.sdk.data_types.base_types": [],
    "wandb.sdk.data_types.base_types.wb_value": ["WBValue"],
    "wandb.sdk.data_types.image": ["Image"],
    "wandb.sdk.data_types.video": ["Video"],
    "wandb.util": ["json_dumps_safer"],
    "wandb.wandb_run": ["Run"],
}


def pretend(monkeypatch: pytest.MonkeyPatch, modules: dict[str, list[str]], forget: str) -> None:
    """Modules without content, and Ray's module that looks for them not yet imported."""
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        for content in contents:
            setattr(module, content, type(content, (), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, forget, None)  # so that it is as before in the end
    monkeypatch.delitem(sys.modules, forget)


def test_nobody_is_logged_to_unless_wanted():
    assert trackers_of({"wandb": None, "mlflow": None}, sweep="x") == []


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_refused(tracker: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning.trackers, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=f"^{tracker} must be .*; pip install {tracker}"):
        trackers_of({tracker: "mine"}, sweep="x")


def test_weights_and_biases_gets_project_group_and_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pretend(monkeypatch, WANDB, "ray.air.integrations.wandb")
    (found,) = trackers_of({"wandb": "mine", "mlflow": None}, sweep=str(tmp_path / "sweep"))
    assert type(found).__name__ == "WandbLoggerCallback"
    assert (found.project, found.group) == ("mine", str(tmp_path / "sweep"))
    assert found.kwargs["dir"] == str(tmp_path / "sweep" / "wandb")
    assert (tmp_path / "sweep" / "wandb").is_dir()


def test_no_place_is_made_behind_a_uri(monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, WANDB, "ray.air.integrations.wandb")
    (found,) = trackers_of({"wandb": "mine", "mlflow": None}, sweep="s3://bucket/sweep")
    assert "dir" not in found.kwargs


def pretend_mlflow(monkeypatch: pytest.MonkeyPatch, search: Callable[..., list[Any]]) -> None:
    """A tracking store that answers so."""
    pretend(monkeypatch, {"mlflow": []}, "ray.air.integrations.mlflow")
    sys.modules["mlflow"].search_experiments = search
    sys.modules["mlflow"].get_tracking_uri = lambda: "http://nowhere"


def test_mlflow_gets_experiment_and_tags(monkeypatch: pytest.MonkeyPatch):
    pretend_mlflow(monkeypatch, lambda max_results: [])
    (found,) = trackers_of({"wandb": None, "mlflow": "mine"}, sweep="sweeps/classic")
    assert type(found).__name__ == "MLflowLoggerCallback"
    assert (found.experiment_name, found.tags) == ("mine", {"sweep": "sweeps/classic"})


def test_a_tracking_store_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch):
    def fail(max_results: int) -> list[Any]:
        raise OSError("refused")

    pretend_mlflow(monkeypatch, fail)
    with pytest.raises(SettingError, match="store at http://nowhere, got OSError: refused"):
        trackers_of({"mlflow": "mine"}, sweep="x")

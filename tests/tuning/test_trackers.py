from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType

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
    assert trackers_of({"wandb": None, "mlflow": None}, name="x") == []


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_refused(tracker: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning.trackers, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=f"^{tracker} must be .*; pip install {tracker}"):
        trackers_of({tracker: "mine"}, name="x")


def test_weights_and_biases_gets_project_and_group(monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, WANDB, "ray.air.integrations.wandb")
    (found,) = trackers_of({"wandb": "mine", "mlflow": None}, name="sweeps/classic")
    assert type(found).__name__ == "WandbLoggerCallback"
    assert (found.project, found.group) == ("mine", "sweeps/classic")


def test_mlflow_gets_experiment_and_tags(monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, {"mlflow": []}, "ray.air.integrations.mlflow")
    (found,) = trackers_of({"wandb": None, "mlflow": "mine"}, name="sweeps/classic")
    assert type(found).__name__ == "MLflowLoggerCallback"
    assert (found.experiment_name, found.tags) == ("mine", {"sweep": "sweeps/classic"})

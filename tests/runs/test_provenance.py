from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rllib_ez
from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.runs.plan import Plan
from rllib_ez.runs.provenance import (
    commit,
    config_hash,
    describe_machine,
    hardware,
    machines_in,
    machines_of,
    read_machines,
    versions,
    write_machines,
)


def plan(**settings: Any) -> Plan:
    return Plan(
        env="CartPole-v1", env_config={}, env_steps=100, evaluate_every=50, checkpoint_every=50,
        threads=1, presets=[], settings=checked_settings(known_settings() | settings),
    )  # fmt: skip


def test_seed_paths_and_upkeep_do_not_change_the_hash():
    changed = replace(plan(seed=7, episode_archive="/else"), threads=5, checkpoint_every=9)
    assert config_hash(changed) == config_hash(plan())
    assert len(config_hash(plan())) == 12


@pytest.mark.parametrize(
    "changed",
    [
        plan(num_simulations=3),
        replace(plan(), env="Acrobot-v1"),
        replace(plan(), env_config={"x": 1}),
        replace(plan(), env_steps=9),
        replace(plan(), evaluate_every=9),
        plan(from_episodes="/archive"),
    ],
)
def test_whatever_is_learned_from_changes_the_hash(changed: Plan):
    assert config_hash(changed) != config_hash(plan())


def test_the_archives_place_does_not_change_the_hash():
    assert config_hash(plan(from_episodes="/a")) == config_hash(plan(from_episodes="s3://b"))


def test_a_plan_that_was_written_and_read_has_the_same_hash(tmp_path: Path):
    plan().write(tmp_path)
    assert config_hash(Plan.read(tmp_path)) == config_hash(plan())


def test_a_process_that_goes_on_is_added_and_takes_back_what_came_after(tmp_path: Path):
    for resumed_at in (0, 100, 50):
        write_machines(tmp_path, machines_of(tmp_path, plan(), resumed_at=resumed_at))
    assert [one["resumed_at"] for one in read_machines(tmp_path)] == [0, 50]
    write_machines(tmp_path, machines_of(tmp_path, plan(), resumed_at=0))
    assert [one["resumed_at"] for one in read_machines(tmp_path)] == [0]


def test_a_new_run_has_this_process_alone():
    (entry,) = machines_of(None, plan(), resumed_at=0)
    assert entry == {"config_hash": config_hash(plan()), "resumed_at": 0, **describe_machine()}


@pytest.mark.parametrize("text", [None, "", '[{"resumed', "{}", '[3, {"x": 1}]'])
def test_what_is_no_machine_json_has_no_machines(text: str | None):
    assert machines_in(text) == []


def test_a_folder_of_an_older_version_has_no_machines(tmp_path: Path):
    assert read_machines(tmp_path) == []


def test_the_machine_is_told_in_what_json_knows():
    told = json.loads(json.dumps(describe_machine()))
    assert told["torch"] == torch.__version__
    assert told["rllib_ez"] == rllib_ez.__version__
    assert told["cpus"] >= 1


def checkout(folder: Path, *, tracked: bool) -> Path:
    """A package in a fresh checkout."""
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (folder / "other").touch()
    who = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for args in (["init"], ["add", "." if tracked else "other"], [*who, "commit", "-m", "x"]):
        subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True)
    return package


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("tracked", [True, False])
def test_a_commit_is_told_only_of_our_own_checkout(
    tracked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = checkout(tmp_path, tracked=tracked)
    monkeypatch.setattr(rllib_ez, "__file__", str(package / "__init__.py"))
    found = commit()
    assert (found is not None, "+" in (found or "")) == (tracked, False)


def test_a_changed_tree_has_a_plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = checkout(tmp_path, tracked=True)
    (package / "__init__.py").write_text("changed")
    monkeypatch.setattr(rllib_ez, "__file__", str(package / "__init__.py"))
    assert (commit() or "").endswith("+")


def test_hardware_and_versions_are_a_line_for_people():
    machine = {"processor": "Xeon", "cpus": 8, "gpu": None, "python": "3.12", "ray": "2.60"}
    assert hardware(machine) == "Xeon, 8 cores"
    assert hardware(machine | {"gpu": "H200"}) == "Xeon, 8 cores, H200"
    assert versions(machine) == "python 3.12, ray 2.60"

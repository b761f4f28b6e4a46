from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import yaml

from rllib_ez.errors import SettingError
from serve.batcher import BatcherConfig
from serve.settings import ServiceSettings


def test_flat_names_reach_their_places():
    settings = ServiceSettings.of({"max_batch": 8, "simulations": 4, "deadline_seconds": 2})
    assert settings.batcher == BatcherConfig(max_batch=8)
    assert (settings.simulations, settings.deadline_seconds) == (4, 2)


def test_nothing_given_means_the_defaults():
    assert ServiceSettings.of({}) == ServiceSettings()


def test_no_name_stands_in_both_places():
    own = {f.name for f in fields(ServiceSettings)}
    assert not own & {f.name for f in fields(BatcherConfig)}


def test_every_default_may_be_given():
    given = {f.name: getattr(ServiceSettings(), f.name) for f in fields(ServiceSettings)}
    batcher = given.pop("batcher")
    given |= {f.name: getattr(batcher, f.name) for f in fields(BatcherConfig)}
    assert ServiceSettings.of(yaml.safe_load(yaml.safe_dump(given))) == ServiceSettings()


@pytest.mark.parametrize("name", ["max_batches", "batcher", "models"])
def test_an_unknown_name_is_refused(name: str):
    with pytest.raises(SettingError, match=f"settings of the service must be .* got .'{name}'."):
        ServiceSettings.of({name: 1})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_simulations", 0, ">= 1"),
        ("max_body_bytes", 0, ">= 1"),
        ("max_sessions", 0, ">= 1"),
        ("session_idle_seconds", 0.0, "> 0 seconds"),
        ("deadline_seconds", -1, "> 0 seconds"),
        ("simulations", 0, ">= 1"),
        ("threads", -1, ">= 0"),
        ("drain_seconds", -0.5, ">= 0"),
        ("device", "gpu", "'cpu' or 'cuda'"),
        ("engine", "fast", "one of auto, compiled"),
        ("max_batch", 0, ">= 1"),
        ("max_queue", 1, "at least max_batch"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any, rule: str):
    with pytest.raises(SettingError, match=f"{name} must be {rule}.*, got {value!r}"):
        ServiceSettings.of({name: value})


@pytest.mark.parametrize(
    ("name", "value", "declared"),
    [
        ("max_batch", "64", "int"),
        ("max_batch", 64.0, "int"),
        ("threads", True, "int"),
        ("simulations", 2.5, r"int \| None"),
        ("deadline_seconds", "30s", "float"),
        ("deadline_seconds", float("nan"), "float"),
        ("drain_seconds", float("inf"), "float"),
        ("access_log", "false", "bool"),
        ("access_log", 0, "bool"),
        ("token_file", 7, r"str \| None"),
        ("device", None, "str"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, declared: str):
    with pytest.raises(SettingError, match=f"{name} must be {declared}, got {value!r}"):
        ServiceSettings.of({name: value})

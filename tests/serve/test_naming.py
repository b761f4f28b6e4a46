from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_ez.errors import SettingError
from serve.naming import check_models, check_name


@pytest.mark.parametrize("name", ["a", "7", "Pong-v5", "a.b_c-d", "x" * 64])
def test_a_name_that_can_stand_in_a_url_is_taken(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "_a", "a/b", "a b", "a%2F", "ä", "a\n", "x" * 65, 7, None]
)
def test_any_other_name_is_refused(name: Any):
    with pytest.raises(SettingError, match="a model's name must be 1-64 of"):
        check_name(name)


def test_models_are_names_and_where_their_checkpoints_are():
    models = {"a": {"checkpoint": "/runs/a"}, "b": {"checkpoint": "/runs/b", "follow": True}}
    assert check_models(models) == models
    assert list(check_models(models)) == ["a", "b"]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (None, "models must name at least one model, got None"),
        ({}, "models must name at least one model"),
        (["/runs/a"], "models must name at least one model"),
        ({"a/b": {"checkpoint": "/runs/a"}}, "name must be 1-64 of"),
        ({"a": "/runs/a"}, "models must be name: {checkpoint: PATH, follow: BOOL}, got a: '/runs"),
        ({"a": {"follow": True}}, "models must be name"),
        ({"a": {"checkpoint": "/runs/a", "folow": True}}, "models must be name"),
        ({"a": {"checkpoint": "runs/a"}}, "of a must be an absolute path, got 'runs/a'"),
        ({"a": {"checkpoint": None}}, "of a must be an absolute path, got None"),
        ({"a": {"checkpoint": Path("/runs/a")}}, "of a must be an absolute path"),
        (
            {"a": {"checkpoint": "/a", "follow": "no"}},
            "follow of a must be true or false, got 'no'",
        ),
    ],
)
def test_any_other_form_is_refused(models: Any, told: str):
    with pytest.raises(SettingError, match=told):
        check_models(models)

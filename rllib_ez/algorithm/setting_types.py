"""Checks the value of one setting before anything is built: type, and range where RLlib has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from rllib_ez.algorithm.config import (
    INFERRED_UNLESS_SET,
    RLLIB_SETTINGS,
    STAGES,
    check_setting_names,
    known_settings,
)
from rllib_ez.errors import SettingError

# Smallest values of RLlib's own settings; ours check themselves (core/config.py).
_LEAST = {
    "num_envs_per_env_runner": 1,
    "rollout_fragment_length": 1,
    "evaluation_duration": 1,
    "evaluation_interval": 1,
}
_FRACTIONS = {"num_gpus_per_learner", "num_gpus_per_env_runner", "num_cpus_per_env_runner"}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with each value in its type, and all of them checked together.

    Raises:
        SettingError: a name is unknown, a value has another type or is out of range.
    """
    check_setting_names(settings)
    typed = {name: checked_setting(name, value) for name, value in settings.items()}
    everything = {**known_settings(), **typed}
    for stage in STAGES[1:]:  # the model's shape is checked once the environment is known
        stage(**{field.name: everything[field.name] for field in fields(stage)})
    return typed


def checked_setting(name: str, value: Any) -> Any:
    """`value` in the type of setting `name`: 1 becomes 1.0 for a fraction, a list a tuple.

    Raises:
        SettingError: the name is unknown or the value does not fit.
    """
    check_setting_names([name])
    kinds = setting_kinds()[name]
    if value is None and NoneType in kinds:
        return None
    found = (_converted(value, kind) for kind in kinds)
    typed = next((one for one in found if one is not None), None)
    if typed is None:
        words = " or ".join(_word(kind) for kind in kinds)
        raise SettingError(f"{name} must be {words}, got {value!r}")
    least = _LEAST.get(name, 0)
    if name in RLLIB_SETTINGS and typed < least:
        raise SettingError(f"{name} must be >= {least}, got {value!r}")
    return typed


@cache
def setting_kinds() -> dict[str, tuple[Any, ...]]:
    """The types that each setting takes."""
    kinds: dict[str, tuple[Any, ...]] = {}
    for stage in STAGES:
        for name, hint in get_type_hints(stage).items():
            kinds[name] = _alternatives(hint)
            if name in INFERRED_UNLESS_SET:
                kinds[name] += (NoneType,)
    for name, default in RLLIB_SETTINGS.items():
        kinds[name] = (float,) if name in _FRACTIONS else (int,)
        if default is None:
            kinds[name] += (NoneType,)
    return kinds


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is tuple or isinstance(hint, type):
        return (hint,)
    return get_args(hint)


def _converted(value: Any, kind: Any) -> Any:
    """The value as `kind`; None where it does not fit."""
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if whole else None
    if kind is float:
        return _as_float(value)
    if kind is str:
        return value if isinstance(value, str) else None
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        numbers = [_as_float(entry) for entry in value]
        return None if None in numbers else tuple(numbers)
    return None


def _as_float(value: Any) -> float | None:
    """A number; YAML takes 1e-3 (no point) for a word, so words that are numbers count."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) != float("inf") and number == number else None


def _word(kind: Any) -> str:
    if kind is NoneType:
        return "null"
    return "a list of numbers" if get_origin(kind) is tuple else _WORDS[kind]

"""The values that one setting may take in a search, and the line of a file that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rllib_ez.algorithm.config import check_setting_names
from rllib_ez.algorithm.setting_types import checked_setting, checked_settings, setting_kinds
from rllib_ez.core.config import ModelConfig
from rllib_ez.errors import SettingError

_MODEL = {field.name for field in fields(ModelConfig)} - {"observation_scale"}
RANGES = ("uniform", "log_uniform", "int", "log_int")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """The values that one setting may take."""

    setting: str
    kind: str  # "choice", or one of `RANGES`
    values: tuple[Any, ...]  # the choices, or the lowest and the highest value
    digits: int = 3  # significant ones of what is drawn from a range

    @property
    def is_log(self) -> bool:
        """Whether each power of ten is as likely as the next."""
        return self.kind.startswith("log_")

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.kind.endswith("int")

    @property
    def size(self) -> float:
        """How many values there are at most; infinite for fractions."""
        if self.kind == "choice":
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.is_whole else math.inf

    def at(self, share: float) -> Any:
        """The value that lies `share` of the way through the range or the choices; [0, 1)."""
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values[0], self.values[1] + self.is_whole
        if self.is_log:
            return self.rounded(math.exp(math.log(low) + share * math.log(high / low)))
        return self.rounded(low + share * (high - low))

    def rounded(self, value: Any) -> Any:
        """`value` with few enough digits to be read, inside the range, in the setting's type."""
        if self.kind != "choice":
            low, high = self.values
            whole = math.floor(value) if self.is_whole else value
            value = min(max(float(f"{whole:.{self.digits}g}"), low), high)
        return checked_setting(self.setting, value)

    def holds(self, value: Any) -> bool:
        """Whether the setting may have this value."""
        if self.kind == "choice":
            return value in self.values
        return is_number(value) and self.values[0] <= value <= self.values[1]


def parse_dimension(setting: str, entry: Any) -> Dimension:
    """One line of a file, each value checked as `ez train --set` checks it.

    Raises:
        SettingError: the setting is unknown, or the entry or a value of it is wrong.
    """
    if setting == "seed":
        raise SettingError("seed must not be searched over; use --seeds")
    check_setting_names([setting])
    if isinstance(entry, list):
        entry = {"choice": entry}
    kinds = [key for key in entry if key != "round"] if isinstance(entry, Mapping) else []
    if len(kinds) != 1 or kinds[0] not in (*RANGES, "choice"):
        raise SettingError(
            f"{setting} must be a list of choices, or {{KIND: [low, high]}} with KIND one of "
            f"{', '.join(RANGES)}, got {entry!r}"
        )
    kind, values = kinds[0], entry[kinds[0]]
    if not isinstance(values, list) or not values:
        raise SettingError(f"{setting}: {kind} must hold a list of values, got {values!r}")
    if kind == "choice":
        return _choices(setting, values)
    return _range(setting, kind, values, digits=entry.get("round", 3))


def _choices(setting: str, values: list[Any]) -> Dimension:
    typed = tuple(_fitting(setting, value) for value in values)
    if len(set(map(repr, typed))) < len(typed):
        raise SettingError(f"{setting} must list every choice once, got {values!r}")
    return Dimension(setting=setting, kind="choice", values=typed)


def _range(setting: str, kind: str, values: list[Any], *, digits: Any) -> Dimension:
    whole = kind.endswith("int")
    if not whole and float not in setting_kinds()[setting]:
        raise SettingError(f"{setting} must be a list of choices, int or log_int, got {kind}")
    if len(values) != 2:
        raise SettingError(f"{setting}: {kind} must be [low, high], got {values!r}")
    low, high = (_fitting(setting, value) for value in values)
    if not is_number(low) or not is_number(high) or low >= high:
        raise SettingError(f"{setting}: {kind} must be [low, high] with low < high, got {values!r}")
    if kind.startswith("log_") and low <= 0:
        raise SettingError(f"{setting}: {kind} must begin above 0, got {values!r}")
    if not isinstance(digits, int) or isinstance(digits, bool) or not 1 <= digits <= 15:
        raise SettingError(f"{setting}: round must be 1 to 15 significant digits, got {digits!r}")
    if whole:
        if low != int(low) or high != int(high):
            raise SettingError(f"{setting}: {kind} must be of whole numbers, got {values!r}")
        # A setting may take odd numbers only, which the two ends do not show.
        low, high = int(low), int(high)
        _fitting(setting, low + 1)
    return Dimension(setting=setting, kind=kind, values=(low, high), digits=digits)


def _fitting(setting: str, value: Any) -> Any:
    typed = checked_settings({setting: value})[setting]
    # Which leaves the model's shape for later: all but this entry can be told without a world.
    if setting in _MODEL and typed is not None:
        ModelConfig(**{setting: typed})
    return typed


def is_number(value: Any) -> bool:
    """Whether it is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)

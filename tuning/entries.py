"""Entries of a YAML file that a person wrote: what is wrong is told by file, entry and rule.

`where` says of what an error speaks: "my.yaml: games, entry 2 (Pong): random".
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.errors import SettingError


def read_yaml(path: Path) -> Any:
    """What the file holds, not yet checked.

    Raises:
        SettingError: it cannot be read, is not YAML, or has a key twice in one mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingError(f"{path} must be a readable YAML file, got {error}") from error


def mapping(value: Any, where: str, *, known: tuple[str, ...] = ()) -> dict[Any, Any]:
    """A mapping; with `known`, of these names only."""
    if not isinstance(value, dict):
        raise SettingError(f"{where} must be a mapping (name: value), got {value!r}")
    for name in value if known else ():
        if name not in known:
            raise SettingError(
                f"{where} must only hold {', '.join(known)}, got {name!r}; "
                f"nearest: {nearest(str(name), known)!r}"
            )
    return value


def text(value: Any, where: str) -> str:
    """A text that is not blank, without blanks around it."""
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{where} must be a text, got {value!r}")
    return value.strip()


def number(value: Any, where: str) -> float:
    """A finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        # YAML takes 1e5 for a text: the example shows a form that it takes for a number.
        raise SettingError(f"{where} must be a finite number such as 100000.0, got {value!r}")
    return float(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` (at least one) whose letters are most like those of `name`."""
    spellings = {one.lower(): one for one in known}
    return spellings[difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.0)[0]]


class _Loader(yaml.SafeLoader):
    """Refuses a key twice in one mapping: YAML would keep the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} twice in one mapping", node.start_mark
                )
        return dict(super().construct_mapping(node, deep))

"""The `models` of a `user_config`, checked: names that can stand in a URL, and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_ez.errors import SettingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_models(models: Any) -> dict[str, dict[str, Any]]:
    """Names and where their checkpoints are.

    Raises:
        SettingError: not name: {"checkpoint": absolute path, "follow": bool}.
    """
    if not isinstance(models, Mapping) or not models:
        raise SettingError(f"models must name at least one model, got {models!r}")
    for name, entry in models.items():
        check_name(name)
        known = isinstance(entry, Mapping) and "checkpoint" in entry
        if not known or entry.keys() - {"checkpoint", "follow"}:
            raise SettingError(
                f"models must be name: {{checkpoint: PATH, follow: BOOL}}, got {name}: {entry!r}"
            )
        # Replicas run in another folder, perhaps on another machine.
        path = entry["checkpoint"]
        if not isinstance(path, str) or not Path(path).is_absolute():
            raise SettingError(f"the checkpoint of {name} must be an absolute path, got {path!r}")
        if not isinstance(entry.get("follow", False), bool):
            raise SettingError(f"follow of {name} must be true or false, got {entry['follow']!r}")
    return {name: dict(entry) for name, entry in models.items()}


def check_name(name: Any) -> str:
    """The name.

    Raises:
        SettingError: it cannot stand in a URL.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingError(
            f"a model's name must be 1-64 of A-Z a-z 0-9 _ . - and begin with a letter or digit, "
            f"got {name!r}"
        )
    return name

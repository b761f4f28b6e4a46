"""Named settings in readable files, `rllib_ez/presets/*.yaml`.

A file is flat: settings by name, a `description`, and for a whole recipe also how long
(`env_steps`), on what (`env`, unless it fits any game) and how often to look (`evaluate_every`).
A file without `env_steps` is an overlay: it changes a recipe.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.errors import SettingError

FOLDER = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One file."""

    name: str
    description: str
    env: str | None = None  # None: any, or an overlay
    env_steps: int | None = None  # None: an overlay
    evaluate_every: int | None = None  # env steps; None: only at the end
    env_config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any]  # checked, by the names of `known_settings()`

    @property
    def is_overlay(self) -> bool:
        """Whether it changes a recipe instead of being one."""
        return self.env_steps is None


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def list_presets() -> list[Preset]:
    """All presets: recipes first, then overlays, each by name."""
    presets = [load_preset(name) for name in preset_names()]
    return sorted(presets, key=lambda preset: preset.is_overlay)


def load_preset(name: str) -> Preset:
    """Reads a preset.

    Raises:
        SettingError: no preset has this name, or its file holds a wrong setting.
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise SettingError(
            f"preset must be one of {', '.join(names)}, got {name!r}; nearest: {near[0]!r}"
        )
    entries: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    about = {
        key: entries.pop(key)
        for key in ("description", "env", "env_steps", "evaluate_every", "env_config")
        if key in entries
    }
    return Preset(name=name, settings=checked_settings(entries), **about)


def preset_for_env(env: str) -> Preset | None:
    """The recipe made for this very environment id, if there is one."""
    return next((preset for preset in list_presets() if preset.env == env), None)

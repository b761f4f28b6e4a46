"""Named settings in readable files, `rllib_ez/presets/*.yaml`.

A file is flat: settings by name, a `description`, and for a whole recipe also how long
(`env_steps`), on what (`env`, unless it fits any game) and how often to look (`evaluate_every`).
A file without `env_steps` is an overlay: it changes a recipe. A recipe may name another as its
`base` and then holds only what it changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.errors import SettingError

FOLDER = Path(__file__).parents[1] / "presets"
RUN_ENTRIES = ("env", "env_steps", "evaluate_every", "env_config")  # what is no setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One file, and what its base adds to it."""

    name: str
    description: str
    base: str | None = None  # the recipe that gives all that this file does not
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
        SettingError: no preset has this name, its file holds a wrong setting, or its base is none.
    """
    entries = _entries(name)
    base = entries.get("base")
    settings = dict(entries)
    about = {
        key: settings.pop(key) for key in ("description", "base", *RUN_ENTRIES) if key in settings
    }
    if base is None:
        return Preset(name=name, settings=checked_settings(settings), **about)
    below = _base_of(name)
    about = {key: getattr(below, key) for key in RUN_ENTRIES} | about
    return Preset(name=name, settings=checked_settings(below.settings | settings), **about)


def preset_text(name: str) -> str:
    """The file of a preset as it stands.

    Raises:
        SettingError: no preset has this name.
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise SettingError(
            f"preset must be one of {', '.join(names)}, got {name!r}; nearest: {near[0]!r}"
        )
    return (FOLDER / f"{name}.yaml").read_text()


def stacked(names: Sequence[str]) -> dict[str, Any]:
    """What presets give together, each on top of those before it and all on the defaults.

    Returns:
        `RUN_ENTRIES` (of the last recipe; None: no recipe) and all settings, by name.

    Raises:
        SettingError: see `load_preset`.
    """
    together: dict[str, Any] = dict.fromkeys(RUN_ENTRIES) | {"env_config": {}} | known_settings()
    for preset in map(load_preset, names):
        if not preset.is_overlay:
            together |= {key: getattr(preset, key) for key in RUN_ENTRIES}
        together |= preset.settings
    return together


def preset_for_env(env: str) -> Preset | None:
    """The recipe made for this very environment id, if there is one.

    One with a base is another way to do the same, and is taken by name only.
    """
    return next((p for p in list_presets() if p.env == env and p.base is None), None)


def _entries(name: str) -> dict[str, Any]:
    entries: dict[str, Any] = yaml.safe_load(preset_text(name))
    return entries


def _base_of(name: str) -> Preset:
    """The base of a preset that names one; walks to the last of them before it loads any."""
    chain = [name]
    while (base := _entries(chain[-1]).get("base")) is not None:
        if base in chain:
            circle = " -> ".join([*chain, base])
            raise SettingError(f"base must not lead back to its own preset, got {circle}")
        if base not in preset_names():
            known = ", ".join(preset_names())
            raise SettingError(f"base of {chain[-1]!r} must be one of {known}, got {base!r}")
        chain.append(base)
    below = load_preset(chain[1])
    if below.is_overlay:
        raise SettingError(
            f"base of {name!r} must be a recipe, got {below.name!r}, an overlay (no env_steps)"
        )
    return below

"""Makes "EfficientZero" a name that RLlib and Tune know, without importing either.

Tune resolves an unknown name by asking RLlib for its table `ALGORITHMS` (name -> function that
imports the algorithm). We add our line to that table: now, if RLlib is loaded; else in the moment
it gets loaded. The algorithm itself is imported when somebody first asks for it by name, and
again after a second `ray.init`, which forgets whatever was registered before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

_TABLE = "ray.rllib.algorithms.registry"


def announce_to_rllib() -> None:
    """Adds EfficientZero to RLlib's table of algorithms, now or once RLlib gets imported."""
    if _TABLE in sys.modules:
        _add_to(sys.modules[_TABLE])
    else:
        sys.meta_path.insert(0, _TableFinder())


def _add_to(registry: ModuleType) -> None:
    registry.ALGORITHMS["EfficientZero"] = _import_efficientzero


def _import_efficientzero() -> tuple[type, Any]:
    from rllib_ez import EfficientZero

    return EfficientZero, EfficientZero.get_default_config()


class _TableLoader(SourceFileLoader):
    """Runs RLlib's module as ever, then adds our line."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _add_to(module)


class _TableFinder(MetaPathFinder):
    """Finds the one module that holds the table, and leaves all others to the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TABLE:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        loader = _TableLoader(fullname, found.origin)
        return spec_from_file_location(fullname, found.origin, loader=loader)

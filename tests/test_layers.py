"""The layers of docs/architecture.md hold at run time; import-linter holds them on paper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules_of(package: str) -> list[str]:
    paths = (ROOT / package.replace(".", "/")).rglob("*.py")
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in dotted)


def loaded_after_importing(modules: list[str]) -> set[str]:
    """The top-level names in sys.modules of a fresh interpreter that imported `modules`."""
    code = f"import {', '.join(modules)}, sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded_by_core() -> set[str]:
    return loaded_after_importing(modules_of("rllib_ez.core"))


@pytest.mark.parametrize("foreign", ["ray", "gymnasium", "ale_py", "typer", "rich"])
def test_core_loads_nothing_of_the_layers_above(loaded_by_core: set[str], foreign: str):
    assert foreign not in loaded_by_core


def test_core_is_imported_whole(loaded_by_core: set[str]):
    assert {"rllib_ez", "torch", "numpy"} <= loaded_by_core


def test_environments_load_no_ray():
    assert "ray" not in loaded_after_importing(modules_of("rllib_ez.envs"))


def test_the_package_itself_loads_neither_ray_nor_torch():
    assert loaded_after_importing(["rllib_ez"]).isdisjoint({"ray", "torch", "gymnasium"})


def test_a_service_says_where_ray_listens_before_ray_is_loaded():
    assert "ray" not in loaded_after_importing(["cli.main", "cli.serve_order", "cli.serving"])

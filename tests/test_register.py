"""Tune finds "EfficientZero" by its name, in whatever order things get imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BY_NAME = "from ray.tune.registry import get_trainable_cls; found = get_trainable_cls({!r})"
FOUND = BY_NAME.format("EfficientZero")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.ray
@pytest.mark.parametrize(
    "imports",
    [
        "import rllib_ez, ray.tune",
        "import ray.tune, rllib_ez",
        "import rllib_ez, ray.rllib.algorithms.ppo",
        "import ray.rllib.algorithms.ppo, rllib_ez",
        "import rllib_ez.algorithm.algorithm",
    ],
)
def test_tune_finds_the_algorithm_by_name(imports: str):
    code = f"{imports}; {FOUND}; import rllib_ez; print(found is rllib_ez.EfficientZero)"
    assert run_python(code) == "True"


@pytest.mark.ray
@pytest.mark.slow
def test_the_name_outlives_a_second_start_of_ray():
    code = f"""
import rllib_ez, ray
for _ in range(2):
    ray.init(num_cpus=1, include_dashboard=False, address="local")
    {FOUND}
    ray.shutdown()
print(found.__name__)
"""
    assert run_python(code).splitlines()[-1] == "EfficientZero"


@pytest.mark.ray
def test_names_of_rllib_are_still_found():
    code = f"import rllib_ez; {BY_NAME.format('PPO')}; print(found.__module__)"
    assert run_python(code) == "ray.rllib.algorithms.ppo.ppo"


def test_waiting_for_rllib_leaves_other_imports_alone():
    code = "import rllib_ez, json.tool, sys; print(json.tool.__spec__.loader.__class__.__name__)"
    assert run_python(code) == "SourceFileLoader"

"""What the files around the code promise about it."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rllib_ez

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGES = ("rllib_ez", "serve", "tuning", "cli")
# The one file that may use RLlib's private names: ray is pinned to a minor version for its sake.
PRIVATE_HOME = ROOT / "rllib_ez/algorithm/rllib_private.py"
NUMBAS = {ROOT / "rllib_ez/core/search/lean.py": {"_source_stamp"}}  # and numba's in this one
# Private names of RLlib that are also reached as `self._x` or in a string.
RLLIB_PRIVATE = {
    "_dont_auto_sync_env_runner_states",
    "_env_to_module",
    "_get_results",
    "_in_flight_req_to_actor_id",
    "_module_to_env",
    "_optimizer_lr_schedules",
    "_set_optimizer_lr",
    "_timers",
    "_torch_grad_scaler_class",
    "_torch_lr_scheduler_classes",
    "_worker_manager",
}


def file_tree_paths(readme: str) -> list[str]:
    """The paths in the fenced block that follows `<!-- file tree -->`.

    Two spaces of indentation a level; a line is one path or several (one space between),
    then at least two spaces and a description. A folder ends with a slash.
    """
    block = re.search(r"<!-- file tree -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    assert block, "README.md must hold a fenced block right after <!-- file tree -->"
    folders: list[str] = []
    paths = []
    for line in filter(str.strip, block[1].splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split()
        folders = [*folders[:depth], names[0]]
        paths += ["".join([*folders[:depth], name]) for name in names]
    return paths


def missing(paths: list[str]) -> list[str]:
    return [
        path
        for path in paths
        if not (ROOT / path).exists() or path.endswith("/") != (ROOT / path).is_dir()
    ]


def private_names(source: str) -> set[str]:
    """Names with one leading underscore that `source` takes from something not its own."""
    return set(_private_names(ast.parse(source)))


def _private_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                yield from {name} & RLLIB_PRIVATE
            case ast.Attribute(attr=name) if re.match(r"_[^_]", name):
                yield name
            case ast.Constant(value=str(name)) | ast.keyword(arg=str(name)):
                yield from {name} & RLLIB_PRIVATE
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("ray"):
                parts = [*module.split("."), *(alias.name for alias in names)]
                yield from (part for part in parts if re.match(r"_[^_]", part))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_paths_of_the_readme_exist():
    assert missing(file_tree_paths((ROOT / "README.md").read_text())) == []


def test_a_file_tree_is_read_by_its_indentation():
    tree = "<!-- file tree -->\n```\ncli/  all of it\n  a.py b.py  two\nMakefile\n```"
    assert file_tree_paths(tree) == ["cli/", "cli/a.py", "cli/b.py", "Makefile"]


def test_a_path_that_is_gone_is_named():
    assert missing(["cli/", "Makefile", "cli/nowhere.py", "Makefile/", "cli"]) == [
        "cli/nowhere.py",
        "Makefile/",
        "cli",
    ]


def test_the_newest_version_of_the_changelog_is_ours():
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == rllib_ez.__version__


def test_development_tools_are_pinned_exactly(project: dict[str, Any]):
    tools = project["project"]["optional-dependencies"]["dev"]
    loose = [
        tool for tool in tools if not re.fullmatch(r"[\w-]+(\[\w+\])?==[\d.]+|rllib-ez\[.+\]", tool)
    ]
    assert loose == []


def test_constraints_agree_with_the_pinned_tools(project: dict[str, Any]):
    lines = (ROOT / "constraints.txt").read_text().replace("_", "-").splitlines()
    constraints = {line.split(" ;")[0].lower() for line in lines}
    tools = project["project"]["optional-dependencies"]["dev"]
    assert {re.sub(r"\[.+\]", "", tool) for tool in tools if "==" in tool} <= constraints


def test_constraints_name_no_build_of_one_machine():
    pattern = r"#.*|[\w.-]+==[\w.]+( ; python_version >= \"3\.11\")?"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(pattern, line)] == []


def test_ray_is_pinned_to_one_minor_version(project: dict[str, Any]):
    everything = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["serve"],
    ]
    ray = [line for line in everything if line.startswith("ray[")]
    assert [line.split("]")[1] for line in ray] == ["==2.60.*", "==2.60.*"]


def test_private_names_stay_in_one_file():
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    used = {
        str(path.relative_to(ROOT)): names
        for path in sources
        if path != PRIVATE_HOME
        and (names := private_names(path.read_text()) - NUMBAS.get(path, set()))
    }
    assert used == {}


@pytest.mark.parametrize(
    "line",
    [
        "group._worker_manager.fetch()",
        "self.learner_group._get_results(x)",
        "self._optimizer_lr_schedules = {}",
        "config.update(_dont_auto_sync_env_runner_states=True)",
        "setattr(config, '_dont_auto_sync_env_runner_states', True)",
        "from ray._private import worker",
        "from ray.tune.registry import _global_registry",
    ],
)
def test_a_private_name_of_rllib_is_seen(line: str):
    assert private_names(line)


@pytest.mark.parametrize("line", ["self._replay.add(1)", "from a import _b", "x.__class__"])
def test_a_name_of_our_own_is_left_alone(line: str):
    assert private_names(line) == set()


def test_the_readme_shows_the_tables_that_the_benchmarks_wrote():
    spec = importlib.util.spec_from_file_location("fill", ROOT / ".ci" / "fill_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (ROOT / "README.md").read_text()
    assert "<!-- table: cartpole -->" in readme
    assert readme == module.filled(readme), "run: python .ci/fill_readme.py"

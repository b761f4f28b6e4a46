from __future__ import annotations

import json
from typing import Any

import pytest

from rllib_ez.algorithm.presets import FOLDER, preset_names

from .conftest import ez


def told(*args: str) -> dict[str, Any]:
    result = ez("presets", *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def differing(name: str, other: str) -> dict[str, tuple[Any, Any, Any]]:
    rows = told("show", name, "--diff", other)["differences"]
    return {row["setting"]: (row["value"], row["other"], row["default"]) for row in rows}


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_the_list_has_a_line_for_each_preset():
    result = ez("presets", "list")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert sorted(names) == preset_names()


@pytest.mark.usefixtures("wide")
def test_a_line_says_what_a_preset_is():
    lines = {
        line.split()[0]: " ".join(line.split())
        for line in ez("presets", "list").stdout.splitlines()
    }
    assert lines["cartpole"] == "cartpole recipe 15,000 CartPole-v1, solved on one CPU core"
    assert lines["muzero"].startswith("muzero overlay MuZero Reanalyse, that is none of")


def test_the_list_as_json_says_the_same():
    rows = {row["name"]: row for row in told("list")["presets"]}
    assert sorted(rows) == preset_names()
    assert (rows["cartpole"]["kind"], rows["cartpole"]["env_steps"]) == ("recipe", 15_000)
    assert (rows["muzero"]["kind"], rows["muzero"]["env_steps"]) == ("overlay", None)
    assert rows["atari100k_gumbel"]["base"] == "atari100k"


@pytest.mark.parametrize("name", ["cartpole", "muzero"])
def test_a_file_is_shown_as_it_stands_with_its_comments(name: str):
    assert ez("presets", "show", name).stdout == (FOLDER / f"{name}.yaml").read_text()


def test_what_stands_on_a_base_says_so_first():
    shown = ez("presets", "show", "atari100k_gumbel").stdout
    assert shown.splitlines()[0] == "# base: atari100k (what is not here is as there)"
    assert shown.endswith((FOLDER / "atari100k_gumbel.yaml").read_text())


def test_a_preset_as_json_holds_its_bases_settings_too():
    preset = told("show", "atari100k_gumbel")
    assert (preset["kind"], preset["base"], preset["env_steps"]) == ("recipe", "atari100k", 100_000)
    assert preset["settings"]["num_simulations"] == 16  # its own
    assert preset["settings"]["batch_size"] == 256  # the base's
    assert preset["text"] == (FOLDER / "atari100k_gumbel.yaml").read_text()


def test_a_difference_names_both_values_and_the_default():
    assert differing("atari100k", "atari100k_gumbel") == {
        "num_simulations": (50, 16, 50),
        "search_method": ("puct", "gumbel", "puct"),
        "max_considered_actions": (16, 8, 16),
    }


def test_an_overlay_alone_stands_on_the_defaults():
    assert differing("no_value_prefix", "infonce") == {
        "lstm_horizon": (1, 5, 5),
        "consistency_loss": ("simsiam", "infonce", "simsiam"),
    }


def test_overlays_are_stacked_from_left_to_right():
    assert differing("atari100k+no_consistency", "atari100k") == {
        "consistency_weight": (0.0, 2.0, 2.0)
    }
    assert differing("atari100k+no_value_prefix+no_consistency", "atari100k+muzero") == {
        "off_policy_correction": (True, False, True)
    }


def test_where_and_how_long_recipes_run_is_compared_as_well():
    found = differing("cartpole", "acrobot")
    assert found["env"] == ("CartPole-v1", "Acrobot-v1", None)
    assert found["env_steps"] == (15_000, 20_000, None)
    assert "search_method" not in found  # both Gumbel


@pytest.mark.usefixtures("wide")
def test_the_table_of_differences_has_a_line_for_each():
    result = ez("presets", "show", "atari100k", "--diff", "atari100k+no_consistency")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["setting", "atari100k", "atari100k+no_consistency", "default"],
        ["consistency_weight", "2.0", "0.0", "2.0"],
    ]


def test_presets_that_do_not_differ_are_said_to_be_equal():
    result = ez("presets", "show", "cartpole", "--diff", "cartpole")
    assert result.stdout == "cartpole and cartpole give the same settings\n"
    assert told("show", "cartpole", "--diff", "cartpole")["differences"] == []


@pytest.mark.parametrize(
    "args",
    [
        ["cartpool"],
        ["cartpool", "--diff", "muzero"],
        ["muzero", "--diff", "cartpool"],
        ["atari100k", "--diff", "muzero+cartpool"],
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(args: list[str]):
    result = ez("presets", "show", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "got 'cartpool'; nearest: 'cartpole'" in result.stderr


@pytest.mark.parametrize("command", [[], ["list"], ["show"]])
def test_help_says_how(command: list[str]):
    result = ez("presets", *command, "-h")
    assert (result.exit_code, "Usage" in result.stdout) == (0, True)

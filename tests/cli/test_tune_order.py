from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.tune_order import chosen, default_name, seeds_of, space_of
from rllib_ez.errors import CheckpointError, SettingError
from tuning.order import FILE

SPACE = "method: random\nlearning_rate: {log_uniform: [1.0e-4, 1.0e-2]}\n"
OWN = "games:\n- {name: Maze, env: CartPole-v1, random: 0, reference: 10}\n"


def choice(games: str = "CartPole-v1", **changes: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "seeds": "1",
        "presets": [],
        "assignments": [],
        "options": {"env_steps": 2000},
        "space": None,
        "num_samples": None,
        "out": None,
    }
    return chosen(games, **nothing | changes)


def kept(folder: Path, games: str = "CartPole-v1", **changes: Any) -> dict[str, Any]:
    """As `choice`; the folder holds the order then."""
    found = choice(games, out=str(folder), **changes)
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(found["order"].as_yaml())
    return found


def searched(search: str | None, **changes: Any) -> Any:
    return space_of(search, **{"num_samples": None, "method": None, "asha": None} | changes)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", [0]), ("3", [0, 1, 2]), ("5,", [5]), ("0,7, 9", [0, 7, 9]), (" 2 ", [0, 1]),
     ("7,0,", [7, 0])],
)  # fmt: skip
def test_seeds_are_counted_or_listed(text: str, seeds: list[int]):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1.5", "0,,1", "0-3", "0,x", "1e3"])
def test_other_texts_are_no_seeds(text: str):
    with pytest.raises(SettingError, match=f"^seeds must be a number .*, got {text!r}"):
        seeds_of(text)


@pytest.mark.parametrize("text", ["0", "1,1", "0,7,0"])
def test_no_seed_or_one_twice_is_refused(text: str):
    with pytest.raises(SettingError, match=f"^seeds must be one or more, each once, got {text!r}"):
        seeds_of(text)


@pytest.mark.parametrize(
    ("games", "name"),
    [
        ("atari100k", "atari100k"),
        ("pong,breakout", "pong-breakout"),
        ("pong, breakout", "pong-breakout"),
        ("CartPole-v1", "CartPole-v1"),
        ("ALE/Pong-v5", "Pong-v5"),
        ("ALE/Pong-v5,ALE/Breakout-v5", "Pong-v5-Breakout-v5"),
        ("suites/mine.yaml", "mine"),
        ("mine.yml", "mine"),
        ("my_package:Maze-v0", "my-package-Maze-v0"),
    ],
)
def test_a_folder_is_named_after_the_games(games: str, name: str):
    assert default_name(games) == name


def test_a_folders_name_is_not_too_long():
    assert len(default_name(",".join(["breakout"] * 50))) == 60


def test_what_was_asked_becomes_an_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = choice("CartPole-v1,Acrobot-v1", seeds="2", assignments=["td_steps=7"])
    order = found["order"]
    assert (order.suite, order.games, order.seeds) == (
        "classic", ("CartPole-v1", "Acrobot-v1"), (0, 1),
    )  # fmt: skip
    assert (order.env_steps, order.assignments) == (2000, ("td_steps=7",))
    assert (found["uri"], found["suite"].name) == ("sweeps/CartPole-v1-Acrobot-v1", "classic")
    assert list(tmp_path.iterdir()) == []


def test_the_same_call_finds_the_same_order(tmp_path: Path):
    assert kept(tmp_path)["order"] == choice(out=str(tmp_path))["order"]


def test_a_call_for_more_adds_to_what_the_folder_holds(tmp_path: Path):
    kept(tmp_path)
    order = choice("Acrobot-v1", seeds="4,", out=str(tmp_path))["order"]
    assert (order.games, order.seeds) == (("CartPole-v1", "Acrobot-v1"), (0, 4))


def test_a_call_for_something_else_is_refused(tmp_path: Path):
    kept(tmp_path)
    with pytest.raises(SettingError, match="^env_steps must be as .*, 2000, got 999"):
        choice(options={"env_steps": 999}, out=str(tmp_path))


def test_a_game_of_another_suite_makes_a_custom_one(tmp_path: Path):
    kept(tmp_path)
    found = choice("pong", out=str(tmp_path))
    assert (found["order"].suite, found["suite"].name) == ("custom", "custom")
    assert found["suite"].find("pong").random == -20.7


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path):
    (tmp_path / FILE).write_text("hello: world\n")
    with pytest.raises(CheckpointError, match=r"readable sweep\.yaml"):
        choice(out=str(tmp_path))


def test_a_suite_of_ones_own_is_found_again_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine.yaml").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    found = choice("mine.yaml")
    assert found["order"].suite == str(tmp_path / "mine.yaml")
    assert found["suite"].normalise("Maze", 5.0) == 0.5


def test_a_search_is_part_of_the_order(tmp_path: Path):
    (tmp_path / "space.yaml").write_text(SPACE)
    space = searched(str(tmp_path / "space.yaml"), num_samples=3)
    order = choice(space=space, num_samples=3)["order"]
    assert len(order.specs()) == 3
    assert order.search["method"] == "random"


@pytest.mark.parametrize(
    ("name", "value"), [("num_samples", 3), ("method", "grid"), ("asha", 1000)]
)
def test_what_goes_with_a_search_is_refused_without(name: str, value: Any):
    with pytest.raises(SettingError, match=f"--{name.replace('_', '-')} goes with --search"):
        searched(None, **{name: value})


def test_without_a_search_there_is_no_space():
    assert searched(None) is None


def test_method_and_asha_take_the_place_of_the_spaces_own():
    space = searched("classic", method="optuna", asha=5000)
    assert (space.method, space.asha.grace_env_steps) == ("optuna", 5000)
    with pytest.raises(SettingError, match="method must be one of"):
        searched("classic", method="annealing")


def test_a_place_that_nothing_opens_is_refused():
    with pytest.raises(SettingError, match="^out must be a local folder or a URI"):
        choice(out="nowhere://x")

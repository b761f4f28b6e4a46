"""Suites: the tables that come along, files of one's own, what `--games` means."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest

from rllib_ez.envs import ATARI_100K_GAMES, describe
from rllib_ez.envs.atari import rom_name
from rllib_ez.errors import EnvironmentSpecError, SettingError
from tuning.suites import FOLDER, Game, choose_games, load_suite, suite_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
TOY = "rllib_ez/GridGoal-v0"
OWN = """
reference_name: par
games:
- {name: Maze, env: CartPole-v1, random: 1, reference: 3.0}
- {name: Fog, env: pong}
published:
  theirs: {maze: 2.5}
sources: [a notebook]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def random_returns() -> ModuleType:
    spec = importlib.util.spec_from_file_location("random", ROOT / ".ci/random_returns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> dict[str, dict[str, str]]:
    with (FOLDER / f"{name}.csv").open() as file:
        return {row["game"]: row for row in csv.DictReader(file)}


def test_atari100k_holds_the_26_games():
    roms = [rom_name(game.name) for game in load_suite("atari100k").games]
    assert tuple(roms) == ATARI_100K_GAMES


def test_atari57_holds_57_roms_of_ales():
    assert len({rom_name(game.env) for game in load_suite("atari57").games}) == 57


def test_all57_is_atari57():
    assert load_suite("all57") == load_suite("atari57")


def test_both_tables_agree_on_the_26_games():
    small, large = rows("atari100k"), rows("atari57")
    columns = ("ale_id", "random", "human")
    differing = [
        (game, column)
        for game, row in small.items()
        for column in columns
        if row[column] != large[game][column]
    ]
    assert differing == []


@pytest.mark.parametrize("name", ["atari100k", "atari57"])
def test_ale_ids_are_known_to_gymnasium(name: str):
    assert {row["ale_id"] for row in rows(name).values()} <= gymnasium.registry.keys()


@pytest.mark.parametrize("name", ["atari100k", "atari57", "classic"])
def test_every_game_that_comes_along_can_be_normalised(name: str):
    suite = load_suite(name)
    assert {suite.normalise(game.name, game.random) for game in suite.games} == {0.0}
    assert {suite.normalise(game.name, game.reference) for game in suite.games} == {1.0}


def test_a_score_is_normalised_between_random_and_reference():
    # (1.9 - -20.7) / (14.6 - -20.7)
    assert load_suite("atari57").normalise("pong", 1.9) == pytest.approx(22.6 / 35.3)


def test_a_game_without_constants_is_not_normalised(own: Path):
    assert load_suite(str(own)).normalise("Fog", 1.0) is None


@pytest.mark.parametrize("name", ["ms_pacman", "MsPacman", "ALE/MsPacman-v5", "ms pacman"])
def test_a_game_is_found_in_any_spelling(name: str):
    assert load_suite("atari100k").find(name).name == "MsPacman"


def test_a_game_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(SettingError, match="one of the 26 of atari100k, got 'pang'.*'Pong'"):
        load_suite("atari100k").find("pang")


def test_a_suite_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(SettingError, match="suite must be one of.*'atari10k'.*'atari100k'"):
        load_suite("atari10k")


def test_every_suite_that_is_named_can_be_read():
    assert [load_suite(name).name for name in suite_names()] == suite_names()


def test_published_columns_cover_the_26_games():
    published = load_suite("atari100k").published
    assert list(published) == list(rows("atari100k")["Pong"])[4:]
    assert {len(scores) for scores in published.values()} == {26}


def test_atari57_has_the_published_columns_of_atari100k():
    assert load_suite("atari57").published == load_suite("atari100k").published


@pytest.mark.parametrize("name", ["atari100k", "atari57", "classic"])
def test_every_column_has_its_source(name: str):
    suite = load_suite(name)
    told = {column for source in suite.sources for column in source.partition(":")[0].split(", ")}
    assert told == {"random", suite.reference_name, *suite.published}


def test_classic_ids_and_references_are_gymnasiums():
    games = load_suite("classic").games
    assert {game.env: game.reference for game in games} == {
        game.name: gymnasium.spec(game.env).reward_threshold for game in games
    }


def test_the_random_player_of_cartpole_returns_what_classic_says(random_returns: ModuleType):
    returns = random_returns.random_returns("CartPole-v1", random_returns.NUM_EPISODES)
    measured = sum(returns) / len(returns)
    assert round(measured, 2) == load_suite("classic").find("CartPole-v1").random


@pytest.mark.parametrize(
    ("env_id", "standard_deviation"),
    [("Acrobot-v1", 13.0), ("LunarLander-v3", 111.0), ("MountainCar-v0", 0.1)],
)
def test_other_random_returns_are_near_what_classic_says(
    random_returns: ModuleType, env_id: str, standard_deviation: float
):
    returns = random_returns.random_returns(env_id, 30)
    expected = load_suite("classic").find(env_id).random
    assert sum(returns) / 30 == pytest.approx(expected, abs=4 * standard_deviation / 30**0.5)


def test_the_script_writes_what_the_file_of_classic_holds(
    random_returns: ModuleType, tmp_path: Path
):
    path = tmp_path / "classic.yaml"
    path.write_text(random_returns.page({name: [-600.0, -500.0] for name in random_returns.ENVS}))
    written, kept = load_suite(str(path)), load_suite("classic")
    assert written.reference_name == kept.reference_name
    assert {game.random for game in written.games} == {-550.0}
    assert [(game.env, game.reference) for game in written.games] == [
        (game.env, game.reference) for game in kept.games
    ]


def test_data_files_are_part_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["tuning"]
    packed = {path for pattern in patterns for path in FOLDER.parent.glob(pattern)}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} - packed == set()


def test_a_file_of_ones_own_is_read(own: Path):
    suite = load_suite(str(own))
    assert (suite.name, suite.reference_name) == ("my", "par")
    assert suite.games == (
        Game(name="Maze", env="CartPole-v1", random=1.0, reference=3.0),
        Game(name="Fog", env="pong"),
    )
    assert (suite.published, suite.sources) == ({"theirs": {"Maze": 2.5}}, ("a notebook",))


@pytest.mark.parametrize("name", ["atari100k", "atari57", "all57", "classic", " classic "])
def test_a_suite_is_chosen_whole(name: str):
    suite, games = choose_games(name)
    assert (suite, tuple(games)) == (load_suite(name.strip()), suite.games)


def test_a_file_is_chosen_whole(own: Path):
    suite, games = choose_games(str(own))
    assert (suite, [game.name for game in games]) == (load_suite(str(own)), ["Maze", "Fog"])


@pytest.mark.parametrize(
    "text", ["pong,breakout", "Pong, Breakout", "ALE/Pong-v5,BreakoutNoFrameskip-v4"]
)
def test_atari_games_are_chosen_from_atari57(text: str):
    suite, games = choose_games(text)
    assert (suite.name, [game.name for game in games]) == ("atari57", ["Pong", "Breakout"])


def test_classic_games_are_chosen_from_classic():
    suite, games = choose_games("Acrobot-v1,cartpole-v1")
    assert (suite.name, [game.env for game in games]) == ("classic", ["Acrobot-v1", "CartPole-v1"])


def test_other_environments_make_a_suite_without_constants():
    suite, games = choose_games(f"{TOY},tetris")
    assert (suite.name, suite.published, suite.sources) == ("custom", {}, ())
    assert tuple(games) == suite.games
    assert games == [Game(name=TOY, env=TOY), Game(name="Tetris", env="Tetris")]


def test_a_game_among_others_keeps_its_constants():
    suite, _ = choose_games(f"{TOY},pong,CartPole-v1")
    assert suite.reference_name == "human or reward threshold of Gymnasium"
    assert suite.normalise("Pong", 14.6) == suite.normalise("CartPole-v1", 475.0) == 1.0
    assert suite.published["bbf"] == {"Pong": 16.7}


def test_a_game_outside_the_57_makes_its_company_custom():
    suite, _ = choose_games("pong,tetris")
    assert (suite.name, suite.reference_name, len(suite.games)) == ("custom", "human", 2)
    assert (suite.normalise("Pong", 14.6), suite.normalise("Tetris", 1.0)) == (1.0, None)


def test_a_key_that_is_merged_and_given_is_no_key_twice(own: Path):
    own.write_text(
        OWN.replace("- {name: Fog,", "- &a {name: Mud, env: pong}\n- {<<: *a, name: Fog,")
    )
    assert [game.name for game in load_suite(str(own)).games] == ["Maze", "Mud", "Fog"]


def test_names_of_chosen_games_choose_the_same_again():
    suite, games = choose_games(f"{TOY},pong,tic_tac_toe_3d")
    assert choose_games(",".join(game.name for game in games)) == (suite, games)


@pytest.mark.parametrize("name", ["tic_tac_toe_3d", "atlantis2"])
def test_an_atari_game_outside_the_57_can_be_made(name: str):
    assert describe(choose_games(name)[1][0].env).is_atari


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("brekout", "Breakout"),
        ("pong,cartpole", "CartPole-v1"),
        ("atari100", "atari100k"),
        ("MountainCar", "MountainCar-v0"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(text: str, nearest: str):
    with pytest.raises(SettingError, match=f"got '{text.split(',')[-1]}'; nearest: '{nearest}'"):
        choose_games(text)


def test_an_unknown_game_of_ale_is_refused_with_the_nearest():
    with pytest.raises(EnvironmentSpecError, match="got 'ALE/Pog-v5'; nearest: 'pong'"):
        choose_games("ALE/Pog-v5")


@pytest.mark.parametrize("text", ["", "pong,", "pong,,breakout", "pong,classic", "my.yaml,pong"])
def test_no_name_or_a_suite_among_names_is_refused(text: str):
    with pytest.raises(SettingError, match="names with commas between, or one suite alone, got"):
        choose_games(text)


def test_a_game_chosen_twice_is_refused():
    with pytest.raises(SettingError, match="name of their own .*got 'Pong' and 'Pong'"):
        choose_games("pong,ALE/Pong-v5")


def test_an_environment_that_is_not_for_us_is_refused_by_name():
    with pytest.raises(EnvironmentSpecError, match="Blackjack-v1: not yet supported"):
        choose_games("pong,Blackjack-v1")


def test_an_environment_of_a_file_that_cannot_be_made_is_told_by_entry(own: Path):
    own.write_text(OWN.replace("env: pong", "env: Nowhere-v0"))
    with pytest.raises(EnvironmentSpecError, match=r"my.yaml: games, entry 2 \(Fog\): env must be"):
        choose_games(str(own))


def test_an_environment_of_a_package_that_is_not_there_is_refused():
    with pytest.raises(EnvironmentSpecError, match="nowhere:Maze-v0: cannot import 'nowhere'"):
        choose_games("nowhere:Maze-v0")

"""Suites: which games belong together, what a random player and a reference score on them.

atari100k   the 26 games of Atari-100k, with published scores
atari57     the 57 games that papers report, with the same published scores where there are any
classic     Gymnasium's small worlds
my.yaml     one's own: see `load_suite`
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from rllib_ez.envs import describe
from rllib_ez.envs.atari import is_game, rom_name
from rllib_ez.errors import EnvironmentSpecError, SettingError
from tuning.entries import mapping, nearest, number, read_yaml, text

FOLDER = Path(__file__).parent / "data"
_TABLES = {"atari100k": "atari100k", "atari57": "atari57", "all57": "atari57"}  # typed: CSV file
_SUITE_ENTRIES = ("games", "reference_name", "published", "sources")
_GAME_ENTRIES = ("name", "env", "random", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """One game, and the two scores that it is measured by; both higher-is-better returns."""

    name: str  # "Pong", "CartPole-v1"
    env: str  # what `ez train --env` takes
    random: float | None = None  # mean return of a uniformly random player
    reference: float | None = None  # what counts as 1; more than `random`


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Games that are reported together."""

    name: str
    reference_name: str  # whose score is 1: "human"
    games: tuple[Game, ...]
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # [column][game]
    sources: tuple[str, ...] = ()  # of constants and published columns, for people

    def find(self, name: str) -> Game:
        """The game of this name in any spelling: "ms_pacman", "MsPacman", "ALE/MsPacman-v5".

        Raises:
            SettingError: there is none.
        """
        games = {_key(game.name): game for game in self.games}
        if _key(name) not in games:
            near = nearest(name, (game.name for game in self.games))
            raise SettingError(
                f"game must be one of the {len(games)} of {self.name}, got {name!r}; "
                f"nearest: {near!r}"
            )
        return games[_key(name)]

    def normalise(self, game_name: str, score: float) -> float | None:
        """(score - random) / (reference - random); None where the game lacks either."""
        game = self.find(game_name)
        if game.random is None or game.reference is None:
            return None
        return (score - game.random) / (game.reference - game.random)


def suite_names() -> list[str]:
    """The suites that come with this package."""
    return ["atari100k", "atari57", "classic"]


def load_suite(name_or_path: str) -> Suite:
    """Reads a suite: one of `suite_names()` ("all57" is atari57), or a YAML file of one's own.

        reference_name: par               # whose score is 1; default "reference"
        games:                            # at least one
        - {name: Pong, env: pong, random: -20.7, reference: 14.6}
        - {name: Maze, env: "my_package:Maze-v0"}   # without both constants: not normalised
        published:                        # optional: column, game, score
          theirs: {Pong: 20.1}
        sources: [where the numbers come from]      # optional, for people

    `env` is what `ez train --env` takes, presets aside; nothing is made or imported here.

    Raises:
        SettingError: no suite has this name, the file cannot be read, or an entry is wrong.
    """
    if name_or_path in _TABLES:
        return _atari_suite(_TABLES[name_or_path])
    if name_or_path == "classic":
        return _suite_of_file(FOLDER / "classic.yaml")
    if _is_file(name_or_path):
        return _suite_of_file(Path(name_or_path))
    raise SettingError(
        f"suite must be one of {', '.join(suite_names())} or a file that ends in .yaml, got "
        f"{name_or_path!r}; nearest: {nearest(name_or_path, suite_names())!r}"
    )


def choose_games(chosen: str) -> tuple[Suite, list[Game]]:
    """What `--games` means: a suite, a YAML file, or names with commas between.

    "pong,breakout"             suite atari57
    "CartPole-v1,Acrobot-v1"    suite classic
    "pong,CartPole-v1,Maze-v0"  a suite "custom", in which a game keeps the constants it has
                                elsewhere; a game of no other suite has none

    Environments other than Atari's are made once, to see that they can be.

    Raises:
        SettingError: a name is unknown, empty or there twice; or as `load_suite`.
        EnvironmentSpecError: an environment cannot be made or is not for us.
    """
    chosen = chosen.strip()
    if chosen in (*_TABLES, *suite_names()) or _is_file(chosen):
        suite = load_suite(chosen)
        for place, game in enumerate(suite.games, 1):
            _check_env(game, f"{chosen}: games, entry {place} ({game.name})")
        return suite, list(suite.games)
    found = [_home_and_game(name.strip()) for name in chosen.split(",")]
    games = [game for _, game in found]
    _check_distinct(f"games {chosen!r}", games)
    return _common_suite([home for home, _ in found], games), games


def _home_and_game(name: str) -> tuple[Suite | None, Game]:
    """A game by its name, and the suite that knows it, if one does."""
    if not name or name in (*_TABLES, *suite_names()) or _is_file(name):
        raise SettingError(
            f"games must be names with commas between, or one suite alone, got {name!r} among them"
        )
    rom = _rom(name)
    for suite in (load_suite("atari57"), load_suite("classic")):
        for game in suite.games:
            if _key(game.name) == _key(rom or name):
                _check_env(game, name)
                return suite, game
    if rom is not None:
        atari = "".join(part.capitalize() for part in rom.split("_"))
        return None, Game(name=atari, env=atari)
    if ":" not in name and name not in gymnasium.registry:
        known = (*suite_names(), *(game.name for game in load_suite("atari57").games))
        near = nearest(name, (*known, *gymnasium.registry))
        raise SettingError(
            f"games must be a suite ({', '.join(suite_names())}), a file that ends in .yaml, Atari "
            f"games or ids of gymnasium, got {name!r}; nearest: {near!r}"
        )
    game = Game(name=name, env=name)
    _check_env(game, name)
    return None, game


def _common_suite(homes: list[Suite | None], games: list[Game]) -> Suite:
    known = {home.name: home for home in homes if home is not None}
    if len(known) == 1 and None not in homes:
        return next(iter(known.values()))
    names = {game.name for game in games}
    published = {
        column: kept
        for home in known.values()
        for column, scores in home.published.items()
        if (kept := {game: score for game, score in scores.items() if game in names})
    }
    return Suite(
        name="custom",
        reference_name=" or ".join(home.reference_name for home in known.values()) or "reference",
        games=tuple(games),
        published=published,
        sources=tuple(source for home in known.values() for source in home.sources),
    )


def _rom(name: str) -> str | None:
    """The ROM of "pong", "ALE/Pong-v5" or "PongNoFrameskip-v4"; None where it is no Atari game."""
    spec = gymnasium.registry.get(name)
    if spec is not None and str(spec.entry_point).startswith("ale_py"):
        return str(spec.kwargs["game"])
    return rom_name(name) if is_game(name) or name.startswith("ALE/") else None


def _check_env(game: Game, where: str) -> None:
    """Makes the environment once, unless it is an Atari game."""
    try:
        if _rom(game.env) is None:
            describe(game.env)
    except EnvironmentSpecError as error:
        raise EnvironmentSpecError(f"{where}: {error}") from error


@functools.cache
def _atari_suite(name: str) -> Suite:
    """From the tables in `FOLDER`; the columns after random and human are published scores."""
    table, published = _table(name), _table("atari100k")
    columns = list(published[0])[4:]
    sources = yaml.safe_load((FOLDER / "sources.yaml").read_text())
    return Suite(
        name=name,
        reference_name="human",
        games=tuple(
            Game(
                name=row["game"],
                env=row["game"],
                random=float(row["random"]),
                reference=float(row["human"]),
            )
            for row in table
        ),
        published={
            column: {row["game"]: float(row[column]) for row in published} for column in columns
        },
        sources=tuple(
            f"{what}: {source}" for what, source in (sources[name] | sources["published"]).items()
        ),
    )


def _table(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _suite_of_file(path: Path) -> Suite:
    entries = mapping(read_yaml(path), str(path), known=_SUITE_ENTRIES)
    listed = entries.get("games")
    if not isinstance(listed, list) or not listed:
        raise SettingError(f"{path}: games must be a list of at least one game, got {listed!r}")
    games = [_game(one, f"{path}: games, entry {place}") for place, one in enumerate(listed, 1)]
    _check_distinct(f"{path}: games", games)
    sources = entries.get("sources", [])
    if not isinstance(sources, list):
        raise SettingError(f"{path}: sources must be a list of texts, got {sources!r}")
    suite = Suite(
        name=path.stem,
        reference_name=text(entries.get("reference_name", "reference"), f"{path}: reference_name"),
        games=tuple(games),
        sources=tuple(text(source, f"{path}: sources, each") for source in sources),
    )
    return replace(suite, published=_published(entries.get("published", {}), path, suite))


def _game(entry: Any, where: str) -> Game:
    entry = mapping(entry, where, known=_GAME_ENTRIES)
    name = text(entry.get("name"), f"{where}: name")
    where = f"{where} ({name})"
    game = Game(
        name=name,
        env=text(entry.get("env"), f"{where}: env"),
        random=number(entry["random"], f"{where}: random") if "random" in entry else None,
        reference=(
            number(entry["reference"], f"{where}: reference") if "reference" in entry else None
        ),
    )
    if game.random is not None and game.reference is not None and game.reference <= game.random:
        raise SettingError(
            f"{where}: reference must be more than random, got {game.reference} and {game.random}"
        )
    return game


def _published(entry: Any, path: Path, suite: Suite) -> dict[str, dict[str, float]]:
    published: dict[str, dict[str, float]] = {}
    for column, scores in mapping(entry, f"{path}: published").items():
        where = f"{path}: published, {text(column, f'{path}: published, each column')}"
        published[column] = {}
        for game, score in mapping(scores, where).items():
            try:
                name = suite.find(text(game, f"{where}, each game")).name
            except SettingError as error:
                raise SettingError(f"{where}: {error}") from error
            published[column][name] = number(score, f"{where}, {game}")
    return published


def _check_distinct(where: str, games: Iterable[Game]) -> None:
    seen: dict[str, str] = {}
    for game in games:
        if _key(game.name) in seen:
            raise SettingError(
                f"{where} must each have a name of their own (letters, digits and dots count), "
                f"got {seen[_key(game.name)]!r} and {game.name!r}"
            )
        seen[_key(game.name)] = game.name


def _is_file(chosen: str) -> bool:
    return chosen.endswith((".yaml", ".yml"))


def _key(name: str) -> str:
    """The same for all spellings; what differs here has a folder of its own: `TrialSpec.name`."""
    return re.sub(r"[^a-z0-9.]", "", re.sub(r"^ALE/(.+)-v\d+$", r"\1", name).lower())

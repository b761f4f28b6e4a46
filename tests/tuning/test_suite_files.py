"""Suites of one's own: what a file may hold, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_ez.errors import SettingError
from tuning.suites import load_suite

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


def test_a_file_needs_nothing_but_games(tmp_path: Path):
    path = tmp_path / "my.yml"
    path.write_text("games: [{name: a, env: CartPole-v1}]")
    suite = load_suite(str(path))
    assert (suite.reference_name, suite.published, suite.sources) == ("reference", {}, ())


WRONG = {
    "no YAML": ("games: [", "must be a readable YAML file"),
    "nothing": ("", "must be a mapping"),
    "an unknown entry": (OWN + "\ngame: 1", "must only hold games.*'game'; nearest: 'games'"),
    "no games": ("games: []", "games must be a list of at least one game, got \\[\\]"),
    "games by name": ("games: {pong: {}}", "games must be a list of at least one game, got {"),
    "a blank": (OWN.replace("Fog", "' '"), "entry 2: name must be a text, got ' '"),
    "a key twice": (OWN + "\ngames: []", "'games' twice"),
    "a game's key twice": (OWN.replace("random: 1", "env: 1"), "'env' twice"),
    "a bare name": ("games: [pong]", "games, entry 1 must be a mapping.*'pong'"),
    "a misspelt entry": (OWN.replace("random", "rendom"), "entry 1 must only.*nearest: 'random'"),
    "no name": (OWN.replace("name: Fog, ", ""), "entry 2: name must be a text, got None"),
    "no env": (OWN.replace(", env: pong", ""), r"entry 2 \(Fog\): env must be a text, got None"),
    "a name twice": (OWN.replace("Fog", "maze"), "name of their own.*got 'Maze' and 'maze'"),
    "a text": (OWN.replace("3.0", "3e5"), r"entry 1 \(Maze\): reference must be a finite.*'3e5'"),
    "no number": (OWN.replace("3.0", ".nan"), "reference must be a finite number.*got nan"),
    "no end": (OWN.replace("3.0", ".inf"), "reference must be a finite number.*got inf"),
    "a truth": (OWN.replace("3.0", "true"), "reference must be a finite number.*got True"),
    "nothing learnt": (OWN.replace("3.0", "1.0"), "reference must be more than random, got 1.0"),
    "another game": (OWN.replace("maze:", "haze:"), "published, theirs: game.*'haze'; n.*'Maze'"),
    "no scores": (OWN.replace("{maze: 2.5}", "2.5"), "published, theirs must be a mapping"),
    "no score": (OWN.replace("2.5", "high"), "published, theirs, maze must be a finite number"),
    "no column": (OWN.replace("theirs", "2024"), "published, each column must be a text, got 2024"),
    "one source": (OWN.replace("[a notebook]", "a notebook"), "sources must be a list of texts"),
    "no source": (OWN.replace("a notebook", "7"), "sources, each must be a text, got 7"),
    "no reference": (OWN.replace("par", "1.0"), "reference_name must be a text, got 1.0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_entry_is_told_by_file_entry_and_rule(own: Path, case: str):
    content, message = WRONG[case]
    assert content != OWN
    own.write_text(content)
    with pytest.raises(SettingError, match=f"my.yaml(?s:.*){message}"):
        load_suite(str(own))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(SettingError, match="none.yaml must be a readable YAML file"):
        load_suite(str(tmp_path / "none.yaml"))


def test_a_file_that_is_no_text_is_refused(own: Path):
    own.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingError, match="my.yaml must be a readable YAML file"):
        load_suite(str(own))

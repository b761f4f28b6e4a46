from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from rllib_ez.core.agent_folder import FOLDER
from serve.board import KEPT_VERSIONS, Board, BoardState, Placement
from serve.errors import Conflict, NotFound
from tests.serve.agents import appear


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, as `ez train` makes it, with one checkpoint."""
    appear(tmp_path / "run", 100)
    return tmp_path / "run"


def placed(plain: dict[str, Any], name: str = "m") -> tuple[int, str]:
    placement = BoardState.from_plain(plain).models[name]
    return placement.version, Path(placement.checkpoint).name


def test_versions_count_up(run: Path):
    board, second = Board(), appear(run, 200)
    assert placed(board.place("m", str(run / "checkpoint_000000100"))) == (
        1,
        "checkpoint_000000100",
    )
    assert placed(board.place("m", second)) == (2, "checkpoint_000000200")
    assert placed(board.place("m", second)) == (3, "checkpoint_000000200")


def test_a_rollback_returns_to_the_version_and_its_number(run: Path):
    board = Board()
    for steps in (100, 200, 300):
        board.place("m", appear(run, steps) if steps > 100 else str(run / "checkpoint_000000100"))
    assert placed(board.roll_back("m")) == (2, "checkpoint_000000200")
    assert placed(board.roll_back("m")) == (1, "checkpoint_000000100")
    with pytest.raises(Conflict, match="'m' must have an earlier version, and has none"):
        board.roll_back("m")


def test_a_version_after_a_rollback_has_a_number_of_its_own(run: Path):
    board, first = Board(), str(run / "checkpoint_000000100")
    for _ in range(2):
        board.place("m", first)
    board.roll_back("m")
    assert placed(board.place("m", first))[0] == 3
    assert placed(board.roll_back("m"))[0] == 1


def test_a_model_that_comes_again_goes_on_counting(run: Path):
    board, first = Board(), str(run / "checkpoint_000000100")
    for _ in range(2):
        board.place("m", first)
    assert board.remove("m")["models"] == {}
    assert placed(board.place("m", first))[0] == 3
    board.configure({"other": {"checkpoint": first}})
    assert placed(board.configure({"m": {"checkpoint": first}}))[0] == 4


def test_a_rollback_needs_the_checkpoint_itself(run: Path):
    board = Board()
    board.place("m", str(run / "checkpoint_000000100"))
    before = board.place("m", appear(run, 200))
    shutil.rmtree(run / "checkpoint_000000100")
    with pytest.raises(Conflict, match="version 1 of 'm' must still have its checkpoint"):
        board.roll_back("m")
    assert board.state() == before


def test_only_some_versions_are_kept(run: Path):
    board = Board()
    for _ in range(KEPT_VERSIONS + 5):
        board.place("m", str(run / "checkpoint_000000100"))
    versions = [placed(board.roll_back("m"))[0] for _ in range(KEPT_VERSIONS)]
    assert versions == [*range(KEPT_VERSIONS + 4, 4, -1)]
    with pytest.raises(Conflict):
        board.roll_back("m")


@pytest.mark.parametrize("method", ["roll_back", "remove"])
def test_an_unknown_name_is_refused(method: str):
    with pytest.raises(NotFound, match="model must exist, got 'm'") as raised:
        getattr(Board(), method)("m")
    assert raised.value.code == "model_not_found"


def test_the_same_configuration_again_changes_nothing(run: Path):
    board = Board()
    first = board.configure({"m": {"checkpoint": str(run)}})
    board.place("m", appear(run, 200))
    board.roll_back("m")
    changed = board.state()
    assert board.configure({"m": {"checkpoint": str(run)}}) == changed
    assert first["revision"] == 1


def test_a_configured_run_is_settled_to_its_newest_checkpoint(run: Path):
    appear(run, 200)
    state = Board().configure({"m": {"checkpoint": str(run)}})
    assert placed(state) == (1, "checkpoint_000000200")


def test_another_configuration_places_drops_and_orders(run: Path):
    board, entry = Board(), {"checkpoint": str(run / "checkpoint_000000100")}
    board.configure({"a": entry, "b": entry})
    state = board.configure({"c": entry, "a": {"checkpoint": appear(run, 200)}})
    assert list(state["models"]) == ["c", "a"]
    assert placed(state, "a") == (2, "checkpoint_000000200")
    assert placed(state, "c") == (1, "checkpoint_000000100")


def test_a_configuration_leaves_alone_what_it_does_not_change(run: Path):
    board, entry = Board(), {"checkpoint": str(run / "checkpoint_000000100")}
    board.configure({"a": entry})
    board.place("a", appear(run, 200))
    state = board.configure({"a": entry, "b": entry})
    assert placed(state, "a") == (2, "checkpoint_000000200")


def test_a_followed_run_gives_each_new_checkpoint(run: Path):
    board = Board()
    assert placed(board.configure({"m": {"checkpoint": str(run), "follow": True}}))[0] == 1
    revision = board.state()["revision"]
    for version, steps in ((2, 200), (3, 300)):
        appear(run, steps)
        assert placed(board.state()) == (version, f"checkpoint_{steps:09d}")
    assert board.state()["revision"] == revision + 2


def test_a_followed_run_may_begin_without_a_checkpoint(tmp_path: Path):
    board = Board()
    board.configure({"m": {"checkpoint": str(tmp_path / "run"), "follow": True}})
    appear(tmp_path / "run", 100)
    assert placed(board.state()) == (2, "checkpoint_000000100")


def test_a_run_that_is_not_followed_stays_as_it_was(run: Path):
    board = Board()
    before = board.configure({"m": {"checkpoint": str(run)}})
    appear(run, 200)
    assert board.state() == before


def test_a_half_written_checkpoint_is_not_taken(run: Path):
    board = Board()
    before = board.configure({"m": {"checkpoint": str(run), "follow": True}})
    (run / "checkpoint_000000200" / FOLDER).mkdir(parents=True)
    (run / "checkpoint_000000200" / FOLDER / "weights.pt").touch()
    draft = run / ".checkpoint_000000300.draft-7" / FOLDER
    shutil.copytree(run / "checkpoint_000000100" / FOLDER, draft)
    assert board.state() == before


def test_an_old_checkpoint_is_not_new_because_newer_ones_were_deleted(run: Path):
    board = Board()
    board.configure({"m": {"checkpoint": str(run), "follow": True}})
    newest = appear(run, 200)
    before = board.state()
    shutil.rmtree(newest)
    assert board.state() == before


@pytest.mark.parametrize("change", ["roll_back", "place"])
def test_an_admins_change_ends_following(run: Path, change: str):
    board = Board()
    board.configure({"m": {"checkpoint": str(run), "follow": True}})
    appear(run, 200)
    board.state()
    board.roll_back("m") if change == "roll_back" else board.place("m", appear(run, 300))
    before = board.state()
    appear(run, 400)
    assert board.state() == before


def test_a_run_that_cannot_be_looked_at_hides_no_other(run: Path, monkeypatch: pytest.MonkeyPatch):
    board = Board()
    follow = {"follow": True}
    board.configure({"a": {"checkpoint": "/a"} | follow, "m": {"checkpoint": str(run)} | follow})
    exists = Path.exists

    def refusing(path: Path) -> bool:
        if str(path) == "/a":
            raise PermissionError("not for you")
        return exists(path)

    monkeypatch.setattr(Path, "exists", refusing)
    appear(run, 200)
    assert placed(board.state()) == (2, "checkpoint_000000200")


def test_a_new_board_learns_what_a_replica_knows(run: Path):
    old, new = Board(), Board()
    old.configure({"m": {"checkpoint": str(run)}})
    known = old.place("m", appear(run, 200))
    assert new.learn(known) == known == new.state()
    assert new.configure({"m": {"checkpoint": str(run)}}) == known


@pytest.mark.parametrize("behind", [0, 1])
def test_what_is_not_newer_is_not_learned(run: Path, behind: int):
    board = Board()
    board.place("m", str(run))
    now = board.place("m", str(run))
    strange = {**now, "revision": now["revision"] - behind, "models": {}}
    assert board.learn(strange) == now


@pytest.mark.parametrize("way", [lambda x: x, lambda x: json.loads(json.dumps(x)), None])
def test_a_state_survives_the_way_between_processes(way: Any):
    way = way or (lambda x: pickle.loads(pickle.dumps(x)))
    models = {
        "b": Placement("/c", 5, follow="/run", earlier=((3, "/a"), (4, "/b")), highest=7),
        "a": Placement("/d", 1),
    }
    state = BoardState(9, models, {"b": {"checkpoint": "/run", "follow": True}}, {"gone": 4})
    again = BoardState.from_plain(way(state.as_plain()))
    assert again == state
    assert list(again.models) == ["b", "a"]


def test_an_empty_state_survives_it_too():
    assert BoardState.from_plain(BoardState().as_plain()) == BoardState()


def test_every_change_has_a_revision_of_its_own(run: Path):
    board, path = Board(), str(run / "checkpoint_000000100")
    states = [
        board.configure({"m": {"checkpoint": path}}),
        board.place("m", path),
        board.roll_back("m"),
        board.place("new", path),
        board.remove("m"),
    ]
    assert [state["revision"] for state in states] == [1, 2, 3, 4, 5]

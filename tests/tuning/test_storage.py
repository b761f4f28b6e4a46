from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from rllib_ez.errors import SettingError
from tests.tuning.sweeps import CARTPOLE, rows, write_attempt, write_order
from tuning.reading import read_sweep
from tuning.storage import MANIFEST, Folder, seal


class Unlucky:
    """A file system on which one thing fails."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name == self._what:
            return self._fail
        return getattr(LocalFileSystem(), name)

    def _fail(self, *args: Any) -> Any:
        raise OSError("No space left on device")


class FullDisk(Unlucky):
    """A file system that takes half a file."""

    def _fail(self, path: str) -> Any:
        Path(path).write_text("ha")
        raise OSError("No space left on device")


def test_what_is_written_is_there(tmp_path: Path):
    folder = Folder.at(tmp_path / "new" / "folder")
    assert not folder.has("a.txt")
    folder.write("a.txt", "é\n")
    assert folder.has("a.txt")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "é\n".encode()


def test_nothing_else_is_left(tmp_path: Path):
    Folder.at(tmp_path).write("a.txt", "first")
    Folder.at(tmp_path).write("a.txt", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "second"


@pytest.mark.parametrize("filesystem", [Unlucky("move"), FullDisk("open_output_stream")])
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, filesystem: Any):
    Folder.at(tmp_path).write("a.txt", "old")
    with pytest.raises(OSError, match="No space left"):
        Folder(filesystem, str(tmp_path)).write("a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("filesystem", [Unlucky("move"), FullDisk("open_output_stream")])
def test_a_new_file_that_cannot_be_written_is_not_there(tmp_path: Path, filesystem: Any):
    folder = Folder(filesystem, str(tmp_path))
    with pytest.raises(OSError, match="No space left"):
        folder.write("a.txt", "new")
    assert not folder.has("a.txt")


def test_a_folder_is_no_file(tmp_path: Path):
    (tmp_path / "a.txt").mkdir()
    assert not Folder.at(tmp_path).has("a.txt")


def test_a_uri_is_opened_as_a_path_is(tmp_path: Path):
    Folder.at(tmp_path.as_uri()).write("a.txt", "x")
    assert Folder.at(str(tmp_path)).has("a.txt")


def test_a_relative_path_is_settled_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert Folder.at("mine").path == str(tmp_path / "mine")


def test_a_uri_that_nothing_opens_is_refused_without_its_key():
    with pytest.raises(SettingError, match=r"^out must be a local folder or a URI") as told:
        Folder.at("nowhere://me:secret@host/x")
    assert "secret" not in str(told.value)


def test_a_seal_names_every_file_with_its_size(tmp_path: Path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "weights.pt").write_bytes(b"12345")
    (tmp_path / "rows.jsonl").touch()
    seal(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest == {"files": {"agent/weights.pt": 5, "rows.jsonl": 0}}


def test_a_sealed_checkpoint_is_read_and_a_cut_one_is_not(tmp_path: Path):
    trial = write_attempt(write_order(tmp_path), CARTPOLE, rows(CARTPOLE, 30))
    checkpoint = trial / "checkpoint_000000"
    checkpoint.mkdir()
    (checkpoint / "rows.jsonl").write_text(json.dumps(rows(CARTPOLE, 50)[-1]) + "\n")
    seal(checkpoint)
    assert read_sweep(tmp_path).runs[0].checkpoint == str(checkpoint)
    (checkpoint / "rows.jsonl").write_text("")
    assert read_sweep(tmp_path).runs[0].checkpoint is None


def test_a_seal_may_be_set_again(tmp_path: Path):
    seal(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    seal(tmp_path)
    assert json.loads((tmp_path / MANIFEST).read_text()) == {"files": {"rows.jsonl": 0}}

"""Tests that files appear whole, on whatever file system, and stay."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from rllib_ez.core.replay.archive import archived_segments, read_summaries
from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.errors import ArchiveError
from tests.core.replay.archived import VECTOR, archive, assert_same, episode


def store(name: str, folder: Path) -> dict[str, object]:
    """Where to write: `uri`, and the file system it is in, if it needs one."""
    (folder / "base").mkdir()
    return {
        "path": {"uri": folder / "new" / "episodes"},
        "file": {"uri": f"{(folder / 'new' / 'episodes').as_uri()}/"},
        "memory": {"uri": "bucket/episodes/", "filesystem": fs._MockFileSystem()},
        "subtree": {
            "uri": "new/episodes",
            "filesystem": fs.SubTreeFileSystem(str(folder / "base"), fs.LocalFileSystem()),
        },
        "fsspec": {"uri": f"{folder}/new/episodes", "filesystem": fsspec_files()},
    }[name]


def fsspec_files() -> fs.FileSystem:
    fsspec = pytest.importorskip("fsspec")
    return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file")))


@pytest.mark.parametrize("name", ["path", "file", "memory", "subtree", "fsspec"])
def test_every_file_system_keeps_episodes(name: str, tmp_path: Path):
    where = store(name, tmp_path)
    writer = archive(where["uri"], filesystem=where.get("filesystem"))
    for id in range(35):  # a merge among them
        writer.append([episode(id)])
    assert [summary.episode_id for summary in read_summaries(**where)] == list(range(35))
    segments = archived_segments(**where, spec=VECTOR, first_episode_id=0, newest_steps=10)
    for id, segment in zip((33, 34), segments, strict=True):
        assert_same(segment, episode(id))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced to disk, by name, in order."""
    seen: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        seen.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


@pytest.mark.parametrize("name", ["path", "file", "subtree"])
def test_on_a_disk_file_and_folder_are_synced(name: str, tmp_path: Path, calls: list[str]):
    where = store(name, tmp_path)
    writer = archive(where["uri"], filesystem=where.get("filesystem"))
    base = tmp_path / "base" if name == "subtree" else tmp_path
    assert sorted(calls) == [str(base), str(base / "new")]  # the folders that were made
    calls.clear()
    writer.append([episode(1)])
    folder = base / "new" / "episodes"
    assert calls == [str(folder / ".shard-0.000000001.parquet.part"), str(folder)]


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch):
    folder, names = ArchiveFolder.at(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda handle: names.append(os.listdir(tmp_path)))
    folder.put("a.parquet", pa.py_buffer(b"x"))
    assert names == [[".a.parquet.part"], ["a.parquet"]]


class Failing(fs.FSSpecHandler):
    """A store that breaks half way through a file, in a way of its own."""

    broken = True

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        stream = super().open_output_stream(path, metadata)
        if self.broken:
            stream.write(b"half")
            stream.close()
            raise RuntimeError("503 slow down")
        return stream


def test_a_store_that_fails_half_way_is_told_and_leaves_nothing(tmp_path: Path):
    handler = Failing(fsspec_files().handler.fs)
    writer = archive(str(tmp_path), filesystem=fs.PyFileSystem(handler))
    with pytest.raises(ArchiveError, match=f"503 slow down; the episodes are not in {tmp_path}"):
        writer.append([episode(1)])
    assert list(tmp_path.iterdir()) == []
    handler.broken = False
    writer.append([episode(1)])
    assert [summary.episode_id for summary in read_summaries(tmp_path)] == [1]


@pytest.mark.parametrize("uri", ["steam://bucket/x", "file://relative", "://"])
def test_a_uri_of_no_store_is_told(uri: str):
    with pytest.raises(ArchiveError, match="must be a local folder or a URI that pyarrow.fs opens"):
        ArchiveFolder.at(uri)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("steam://me:sec/ret@bucket/x", "'steam://***@bucket/x'"),
        ("steam://bucket/x?token=secret", "'steam://bucket/x?***'"),
    ],
)
def test_a_key_in_a_uri_is_not_shown(uri: str, shown: str):
    with pytest.raises(ArchiveError) as caught:
        ArchiveFolder.at(uri)
    assert shown in str(caught.value)
    assert "ret" not in str(caught.value)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="must be a folder that can be listed"):
        ArchiveFolder.at(tmp_path / "file").files()

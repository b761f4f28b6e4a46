"""Tests that what was appended is there: after a kill, a full disk, a restart, a merge."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay import Replay
from rllib_ez.core.replay import archive as archive_module
from rllib_ez.core.replay.archive import archived_segments, read_contents, read_summaries
from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.core.types import Segment
from rllib_ez.errors import ArchiveError, SettingError
from tests.core.replay.archived import PIXELS, VECTOR, archive, assert_same, episode

ROOT = Path(__file__).parents[3]


def ids(folder: Path) -> list[int]:
    return [summary.episode_id for summary in read_summaries(folder)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_cut_at(num_bytes: int):
    """As if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("spec", [PIXELS, VECTOR], ids=["pixels", "vectors"])
def test_episodes_come_back_bit_for_bit(tmp_path: Path, spec):
    written = [episode(id, spec=spec, steps=id) for id in range(6)]
    archive(tmp_path, spec=spec).append(written)
    segments = list(archived_segments(tmp_path, spec=spec, first_episode_id=70))
    assert [segment.episode_id for segment in segments] == [70, 71, 72, 73, 74, 75]
    for segment, original in zip(segments, written, strict=True):
        assert_same(segment, original)


def test_the_end_of_an_episode_comes_back_as_such(tmp_path: Path):
    archive(tmp_path).append([episode(1, is_first=False), episode(2)])
    tail, whole = archived_segments(tmp_path, spec=VECTOR, first_episode_id=0)
    assert (tail.is_first, tail.truncated, tail.terminated) == (False, True, False)
    assert (whole.is_first, whole.truncated, whole.terminated) == (True, False, True)


@pytest.mark.parametrize("spec", [PIXELS, VECTOR], ids=["pixels", "vectors"])
def test_a_replay_filled_from_it_is_that_of_the_episodes(tmp_path: Path, spec):
    written = [episode(id, spec=spec, steps=3 + id) for id in range(5)]
    archive(tmp_path, spec=spec).append(written)
    first, second = replay_of(spec), replay_of(spec)
    first.add([segment_of(one) for one in written])
    second.add(list(archived_segments(tmp_path, spec=spec, first_episode_id=0)))
    second.check_valid()
    np.testing.assert_equal(second.get_state(), first.get_state())


def replay_of(spec) -> Replay:
    return Replay(
        ReplayConfig(replay_capacity=100),
        frame_shape=spec.frame_shape,
        frame_dtype=spec.dtype,
        num_actions=spec.num_actions,
        frame_stack=2,
        unroll_steps=2,
        td_steps=3,
    )


def segment_of(one) -> Segment:
    names = ("episode_id", "is_first", "frames", "action", "reward", "policy", "root_value")
    same = {name: getattr(one, name) for name in names}
    ended = {"terminated": one.terminated, "truncated": not one.terminated}
    return Segment(**same, **ended, collected_at_update=0, score=one.score)


def test_an_append_of_nothing_writes_nothing(tmp_path: Path):
    archive(tmp_path).append([])
    assert names(tmp_path) == []


def test_an_episode_of_another_shape_is_refused_whole(tmp_path: Path):
    wrong = episode(2, frames=np.zeros((6, 9), np.float32))
    with pytest.raises(ValueError, match=r"episodes\[1\].frames must be float32 \(6, 4\)"):
        archive(tmp_path).append([episode(1), wrong])
    assert names(tmp_path) == []


def test_updates_of_another_length_are_refused(tmp_path: Path):
    wrong = episode(2, collected_at_update=np.zeros(5, np.int64))
    with pytest.raises(ValueError, match=r"episodes\[0\].collected_at_update must be int64 \(6,\)"):
        archive(tmp_path).append([wrong])


@pytest.mark.parametrize("writer", ["", "a.b", "a/b", ".a", "x" * 65])
def test_a_writer_that_is_no_part_of_a_file_name_is_refused(tmp_path: Path, writer: str):
    with pytest.raises(SettingError, match="writer must be 1..64 letters"):
        archive(tmp_path, writer=writer)


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path):
    writer = archive(tmp_path)
    writer.append([episode(1)])
    with files_cut_at(2000), pytest.raises(ArchiveError, match=str(tmp_path)):
        writer.append([episode(2, steps=500)])
    assert names(tmp_path) == ["shard-0.000000001.parquet"]
    writer.append([episode(2, steps=500)])
    assert ids(tmp_path) == [1, 2]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="must be a folder that can be made, got .*file/inside"):
        archive(tmp_path / "file" / "inside")


def test_a_restarted_writer_goes_on_after_its_last_file(tmp_path: Path):
    for id in (1, 2, 3):
        archive(tmp_path).append([episode(id)])
    assert names(tmp_path) == [f"shard-0.00000000{n}.parquet" for n in (1, 2, 3)]
    assert ids(tmp_path) == [1, 2, 3]


def test_a_restarted_writer_clears_away_its_own_unfinished_file_only(tmp_path: Path):
    drafts = [".shard-0.000000001.parquet.part", ".shard-00.000000001.parquet.part"]
    for name in drafts:
        (tmp_path / name).write_bytes(b"half")
    archive(tmp_path)
    assert names(tmp_path) == drafts[1:]


def test_writers_of_one_folder_do_not_meet(tmp_path: Path):
    first, second = archive(tmp_path), archive(tmp_path, writer="shard-1")
    for id, writer in enumerate([first, second, second, first]):
        writer.append([episode(id)])
    assert ids(tmp_path) == [0, 1, 2, 3]


def test_two_processes_of_one_name_do_not_overwrite_each_other(tmp_path: Path):
    first, second = archive(tmp_path), archive(tmp_path)
    first.append([episode(1)])
    with pytest.raises(ArchiveError, match="writer must be the name of one process"):
        second.append([episode(2)])
    assert ids(tmp_path) == [1]


def test_another_environment_cannot_be_appended_to_an_archive(tmp_path: Path):
    archive(tmp_path).append([episode(1)])
    with pytest.raises(ArchiveError, match=r"frame_shape must be \(6, 5, 3\).*got \(4,\)"):
        archive(tmp_path, writer="shard-1", spec=PIXELS)


def test_many_small_files_become_one(tmp_path: Path):
    writer, written = archive(tmp_path), [episode(id) for id in range(40)]
    for one in written:
        writer.append([one])
    merged, *rest = names(tmp_path)
    assert (merged, len(rest)) == ("shard-0.000000001-000000033.parquet", 7)
    segments = list(archived_segments(tmp_path, spec=VECTOR, first_episode_id=0))
    for segment, original in zip(segments, written, strict=True):
        assert_same(segment, original)


def test_large_files_are_left_alone(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(archive_module, "SMALL_BYTES", 1000)  # less than any file
    writer = archive(tmp_path)
    for id in range(40):
        writer.append([episode(id)])
    assert len(names(tmp_path)) == 40


def test_what_a_kill_leaves_beside_a_merged_file_counts_once(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ArchiveFolder, "delete", lambda folder, names: None)  # killed before it
    writer = archive(tmp_path)
    for id in range(34):
        writer.append([episode(id)])
    assert (ids(tmp_path), len(names(tmp_path))) == (list(range(34)), 35)
    monkeypatch.undo()
    archive(tmp_path)
    assert names(tmp_path) == [f"shard-0.0000000{n}.parquet" for n in ("01-000000033", "34")]
    assert ids(tmp_path) == list(range(34))


def test_small_files_stay_while_what_they_were_merged_into_is_damaged(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ArchiveFolder, "delete", lambda folder, names: None)
    writer = archive(tmp_path)
    for id in range(33):
        writer.append([episode(id)])
    (tmp_path / "shard-0.000000001-000000033.parquet").write_bytes(b"")
    monkeypatch.undo()
    archive(tmp_path)
    assert len(names(tmp_path)) == 34


def test_a_merge_that_fails_loses_nothing_and_fails_no_append(tmp_path: Path):
    writer = archive(tmp_path)
    for id in range(32):
        writer.append([episode(id)])
    torn = tmp_path / "shard-0.000000005.parquet"
    torn.write_bytes(torn.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="small files were not merged: .*000000005.parquet"):
        writer.append([episode(32)])
    assert len(names(tmp_path)) == 33


def test_row_groups_are_small_enough_to_read_one(tmp_path: Path):
    spec = archive_module.ArchiveSpec(
        env="big", frame_shape=(2**22,), frame_dtype="uint8", num_actions=3
    )
    frames = np.zeros((21, 2**22), np.uint8)
    archive(tmp_path, spec=spec).append([episode(1, spec=VECTOR, steps=20, frames=frames)])
    metadata = pq.read_metadata(tmp_path / "shard-0.000000001.parquet")
    rows = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert rows == [8, 8, 5]
    (back,) = archived_segments(tmp_path, spec=spec, first_episode_id=0)
    assert back.frames.shape == (21, 2**22)


def test_an_episode_written_again_counts_after_a_clock_was_set_back(tmp_path: Path, monkeypatch):
    archive(tmp_path).append([episode(1, score=1.0)])
    monkeypatch.setattr(time, "time_ns", lambda: 1000)
    archive(tmp_path).append([episode(1, score=2.0)])
    assert [summary.score for summary in read_summaries(tmp_path)] == [2.0]


APPEND_FOR_EVER = """
import sys
from rllib_ez.core.replay import archive as module
from tests.core.replay.archived import archive, episode
module.MAX_SMALL_FILES = 3  # so that kills fall into merges, too
folder, id = sys.argv[1], int(sys.argv[2])
writer = archive(folder)
while True:
    writer.append([episode(id)])
    print(id, flush=True)
    id += 1
"""


def killed_while_appending(folder: Path, first_id: int, seconds: float) -> list[int]:
    """The ids whose append had returned when the process was killed, `seconds` after the first."""
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(folder), str(first_id)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        return [int(line) for line in (first + process.stdout.read()).splitlines()]


@pytest.mark.slow
def test_nothing_that_was_appended_is_lost_by_a_kill(tmp_path: Path):
    told: list[int] = []
    for round, seconds in enumerate(np.random.default_rng(5).uniform(0.02, 0.5, 5)):
        told += killed_while_appending(tmp_path, 10_000 * round, seconds)
        contents = read_contents(tmp_path)  # a warning of a torn file would fail here
        assert len(told) > 5 * (round + 1)
        assert set(told) <= {summary.episode_id for summary in contents.episodes}
    segments = archived_segments(tmp_path, spec=VECTOR, first_episode_id=0)
    for summary, segment in zip(contents.episodes, segments, strict=True):
        assert_same(segment, episode(summary.episode_id))

"""Tests of what is read from an archive, and of what cannot be."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rllib_ez.core.replay import archive_format
from rllib_ez.core.replay.archive import (
    ArchiveSpec,
    EpisodeSummary,
    archived_segments,
    read_contents,
    read_summaries,
)
from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.core.replay.archive_format import KEY
from rllib_ez.errors import ArchiveError
from tests.core.replay.archived import PIXELS, VECTOR, archive, assert_same, episode


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files of two episodes each, 0 to 5."""
    writer = archive(tmp_path)
    for id in (0, 2, 4):
        writer.append([episode(id), episode(id + 1)])
    return sorted(tmp_path.iterdir())


def kept_scores(folder: Path, **settings: object) -> list[float]:
    settings = {"spec": VECTOR, "first_episode_id": 0, **settings}
    return [segment.score for segment in archived_segments(folder, **settings)]


def test_a_summary_tells_of_the_episode(tmp_path: Path):
    one = episode(7, reward=np.array([0.5, -1, 1, 1, 0], np.float32), is_first=False)
    archive(tmp_path).append([episode(1), one])
    summary = read_summaries(tmp_path)[1]
    assert summary == EpisodeSummary(
        episode_id=7,
        num_steps=5,
        is_whole=False,
        terminated=False,
        score=7.5,
        reward_sum=1.5,
        first_update=7,
        last_update=12,
        written_at=summary.written_at,
        file="shard-0.000000001.parquet",
        first_row=6,
    )


def test_contents_tell_of_spec_and_size(files: list[Path]):
    contents = read_contents(files[0].parent)
    assert (contents.spec, contents.num_files) == (VECTOR, 3)
    assert contents.num_bytes == sum(path.stat().st_size for path in files)


def test_of_an_episode_written_twice_the_later_copy_counts(files: list[Path]):
    again = episode(2, score=99.0, steps=8)
    archive(files[0].parent, writer="after-resume").append([again])
    segments = list(archived_segments(files[0].parent, spec=VECTOR, first_episode_id=0))
    assert [segment.score for segment in segments] == [0.5, 1.5, 3.5, 4.5, 5.5, 99.0]
    assert_same(segments[-1], again)


def test_only_the_newest_whole_episodes_that_fit_are_read(files: list[Path]):
    assert kept_scores(files[0].parent, newest_steps=14) == [4.5, 5.5]
    assert kept_scores(files[0].parent, newest_steps=15) == [3.5, 4.5, 5.5]


def test_the_newest_episode_is_read_even_if_it_is_longer(files: list[Path]):
    assert kept_scores(files[0].parent, newest_steps=1) == [5.5]


def test_an_older_episode_is_not_read_in_place_of_one_too_long(tmp_path: Path):
    archive(tmp_path).append([episode(1), episode(2, steps=50), episode(3)])
    assert kept_scores(tmp_path, newest_steps=20) == [3.5]


@pytest.mark.parametrize("keep", [0, 1, 3, 4, 100, 0.5, -1, -4, -8, -100])
def test_a_file_cut_short_is_passed_over_by_name(files: list[Path], keep: float):
    content = files[1].read_bytes()
    files[1].write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.warns(UserWarning, match=f"{files[1]} "):
        assert [s.episode_id for s in read_summaries(files[0].parent)] == [0, 1, 4, 5]


def test_damage_among_the_frames_is_seen_and_passed_over(tmp_path: Path):
    for id in (1, 2):
        archive(tmp_path, spec=PIXELS).append([episode(id, spec=PIXELS, steps=99)])
    file = tmp_path / "shard-0.000000001.parquet"
    column = pq.read_metadata(file).row_group(0).column(PIXELS.schema().names.index("frame"))
    content = bytearray(file.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="000000001.parquet"):
        assert kept_scores(tmp_path, spec=PIXELS) == [2.5]


def test_a_damaged_file_gives_what_was_written_or_a_warning(files: list[Path]):
    content, rng = files[1].read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        files[1].write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            left = list(archived_segments(files[0].parent, spec=VECTOR, first_episode_id=0))
        for segment, id in zip(left, [0, 1, 4, 5] if caught else range(6), strict=True):
            assert_same(segment, episode(id))


def test_reading_holds_one_row_group_of_the_archive(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(archive_format, "GROUP_BYTES", 2**20)
    spec = ArchiveSpec(env="x", frame_shape=(2**15,), frame_dtype="uint8", num_actions=3)
    archive(tmp_path, spec=spec).append([episode(id, spec=spec, steps=37) for id in range(20)])
    before, held = pa.total_allocated_bytes(), []
    for segment in archived_segments(tmp_path, spec=spec, first_episode_id=0):
        held.append(pa.total_allocated_bytes() - before)
        assert_same(segment, episode(segment.episode_id, spec=spec, steps=37))
    assert len(held) == 20
    assert max(held) < 4 * 2**20  # of 25 MB; an episode lies in up to three groups


def test_a_parquet_file_of_someone_else_is_passed_over(files: list[Path]):
    pq.write_table(pq.read_table(files[0]).replace_schema_metadata({}), files[0])
    with pytest.warns(UserWarning, match=f"{files[0]} .KeyError"):
        assert [s.episode_id for s in read_summaries(files[0].parent)] == [2, 3, 4, 5]


def test_a_file_that_is_not_what_its_header_says_is_passed_over(files: list[Path]):
    rewrite(files[0], num_actions=2)
    with pytest.warns(UserWarning, match=f"{files[0]} .ValueError: its columns are not those"):
        assert [s.episode_id for s in read_summaries(files[0].parent)] == [2, 3, 4, 5]


def test_a_file_whose_last_episode_goes_on_is_passed_over(files: list[Path]):
    pq.write_table(pq.read_table(files[0]).slice(0, 9), files[0])
    with pytest.warns(UserWarning, match=f"{files[0]} .ValueError: its last episode has no end"):
        assert [s.episode_id for s in read_summaries(files[0].parent)] == [2, 3, 4, 5]


def rewrite(file: Path, **changes: object) -> None:
    """Changes what a file says of itself."""
    table = pq.read_table(file)
    header = json.loads(table.schema.metadata[KEY]) | changes
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(header)}), file)


def test_files_merged_while_they_are_read_are_read_as_merged(files: list[Path], monkeypatch):
    folder, real = files[0].parent, ArchiveFolder.files
    before = iter([{"shard-0.000000000.parquet": 900}])  # listed, then merged and deleted
    monkeypatch.setattr(ArchiveFolder, "files", lambda self: next(before, None) or real(self))
    assert [s.episode_id for s in read_summaries(folder)] == [0, 1, 2, 3, 4, 5]


def test_drafts_folders_and_other_files_are_no_part_of_it(files: list[Path]):
    folder = files[0].parent
    (folder / ".shard-0.000000009.parquet.part").write_bytes(b"half")
    (folder / ".hidden.parquet").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    (folder / "more.parquet").mkdir()
    assert read_contents(folder).num_files == 3


def test_a_newer_format_is_refused(files: list[Path]):
    rewrite(files[1], format=2, written_by="9.9")
    with pytest.raises(ArchiveError, match="format 1 or older, got 2 in .*by rllib_ez 9.9"):
        read_summaries(files[0].parent)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"frame_shape": (5,)}, r"frame_shape must be \(5,\), as here \(x\), got \(4,\)"),
        ({"frame_dtype": "uint8"}, "frame_dtype must be uint8, as here .x., got float32"),
        ({"num_actions": 2}, "num_actions must be 2, as here .x., got 3 .CartPole-v1."),
    ],
)
def test_an_archive_of_another_spec_is_refused_at_once(files, wanted: dict, told: str):
    same = {"env": "x", "frame_shape": (4,), "frame_dtype": "float32", "num_actions": 3}
    with pytest.raises(ArchiveError, match=told):
        archived_segments(files[0].parent, spec=ArchiveSpec(**same | wanted), first_episode_id=0)


def test_another_name_of_the_environment_is_no_other_spec(files: list[Path]):
    same = ArchiveSpec(env="x", frame_shape=(4,), frame_dtype="float32", num_actions=3)
    assert len(kept_scores(files[0].parent, spec=same)) == 6


def test_a_missing_archive_is_told(tmp_path: Path):
    with pytest.raises(ArchiveError, match="archive must exist, got .*nowhere.*: no such folder"):
        read_summaries(tmp_path / "nowhere")


def test_an_empty_archive_is_told(tmp_path: Path):
    with pytest.raises(ArchiveError, match="at least one readable episode, got .* with 0 files"):
        archived_segments(tmp_path, spec=VECTOR, first_episode_id=0)

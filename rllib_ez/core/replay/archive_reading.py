"""Episodes out of an archive: what they are, and the newest of them for replay.

Files that cannot be read are passed over with a warning that names them.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyarrow.fs import FileSystem  # type: ignore[import-untyped]

from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.core.replay.archive_format import (
    ArchiveSpec,
    FileHeader,
    UnreadableFileError,
    decode,
    open_file,
)
from rllib_ez.core.replay.links import FINAL_TERMINATED, STEP
from rllib_ez.core.types import Segment
from rllib_ez.errors import ArchiveError

LIGHT = "episode_id is_first kind reward collected_at_update score written_at".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSummary:
    """What an archived episode was, without its frames."""

    episode_id: int
    num_steps: int  # as archived
    is_whole: bool  # from its first observation on; else its last steps only
    terminated: bool  # else truncated
    score: float  # rewards of the whole episode before any clipping, summed
    reward_sum: float  # of the archived steps, clipped where the environment clips
    first_update: int  # gradient updates of the network that took the first archived step,
    last_update: int  # and of the one that saw the final observation
    written_at: int  # ns since 1970
    file: str
    first_row: int  # in the file

    @property
    def age(self) -> tuple[int, str, int]:
        """Sorts episodes by when they were written."""
        return self.written_at, self.file, self.first_row


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveContents:
    """What an archive holds."""

    spec: ArchiveSpec  # of the newest file
    episodes: list[EpisodeSummary]  # the oldest first; of each id the copy written last
    num_files: int
    num_bytes: int  # of the files


def read_summaries(
    uri: str | Path, *, filesystem: FileSystem | None = None
) -> list[EpisodeSummary]:
    """Every episode of an archive, the oldest first; see `read_contents`."""
    return read_contents(uri, filesystem=filesystem).episodes


def read_contents(
    uri: str | Path, *, spec: ArchiveSpec | None = None, filesystem: FileSystem | None = None
) -> ArchiveContents:
    """Reads everything but frames and policies.

    An episode may be there twice: a resumed run plays it again. The copy written last counts.

    Args:
        uri: a local folder or a URI of pyarrow.fs; with `filesystem`, a path in it.
        spec: what the archive must hold; None takes any.

    Raises:
        ArchiveError: nothing there to read, a file of a newer format, or of another spec.
    """
    folder = ArchiveFolder.at(uri, filesystem)
    sizes = folder.files()
    newest: FileHeader | None = None
    found: list[EpisodeSummary] = []
    for name in sizes:
        try:
            with open_file(folder, name) as (header, file):
                if spec is not None:
                    spec.check_same(header.spec, f"{folder.shown}/{name}")
                found += _summaries(file, name)
        except UnreadableFileError as error:
            if name not in folder.files():  # merged meanwhile by the run that writes it
                return read_contents(uri, spec=spec, filesystem=filesystem)
            _warn(error)
            continue
        if newest is None or header.written_at >= newest.written_at:
            newest = header
    if newest is None:
        raise ArchiveError(
            f"archive must hold at least one readable episode, got {folder.shown!r} with "
            f"{len(sizes)} files; a run writes to its episode_archive whenever an episode ends"
        )
    last = {episode.episode_id: episode for episode in sorted(found, key=lambda e: e.age)}
    return ArchiveContents(
        spec=newest.spec,
        episodes=sorted(last.values(), key=lambda e: e.age),
        num_files=len(sizes),
        num_bytes=sum(sizes.values()),
    )


def archived_segments(
    uri: str | Path,
    *,
    spec: ArchiveSpec,
    first_episode_id: int,
    newest_steps: int | None = None,
    filesystem: FileSystem | None = None,
) -> Iterator[Segment]:
    """The newest episodes, each whole as one segment, the oldest of them first.

    What several writers wrote comes file by file. One row group and one episode are held in
    memory. `collected_at_update` is 0: the updates of another run say nothing in this one.

    Args:
        spec: of the replay that they are for.
        first_episode_id: they are numbered from here on, for their own ids may be taken.
        newest_steps: as many of the newest episodes as these steps hold, but at least one;
            None is all.

    Raises:
        ArchiveError: as `read_contents`, at once and not at the first segment.
    """
    contents = read_contents(uri, spec=spec, filesystem=filesystem)
    by_file: dict[str, list[EpisodeSummary]] = {}
    for episode in _newest(contents.episodes, newest_steps):
        by_file.setdefault(episode.file, []).append(episode)
    folder = ArchiveFolder.at(uri, filesystem)
    return _segments(folder, by_file, spec, itertools.count(first_episode_id))


def _newest(episodes: Sequence[EpisodeSummary], num_steps: int | None) -> list[EpisodeSummary]:
    if num_steps is None:
        return list(episodes)
    chosen: list[EpisodeSummary] = []
    for episode in reversed(episodes):
        num_steps -= episode.num_steps
        if chosen and num_steps < 0:
            break
        chosen.append(episode)
    return chosen[::-1]


def _segments(
    folder: ArchiveFolder,
    by_file: dict[str, list[EpisodeSummary]],
    spec: ArchiveSpec,
    ids: Iterator[int],
) -> Iterator[Segment]:
    for name, episodes in by_file.items():
        try:
            with open_file(folder, name) as (_, file):
                for rows in _rows(file, episodes):
                    yield decode(rows, spec, episode_id=next(ids))
        except UnreadableFileError as error:
            _warn(error)


def _rows(file: pq.ParquetFile, episodes: Sequence[EpisodeSummary]) -> Iterator[pa.Table]:
    """The rows of each episode; episodes stand in order of their rows."""
    groups = range(file.num_row_groups)
    starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in groups)])
    held, table = -1, pa.table({})
    for episode in episodes:
        row, stop = episode.first_row, episode.first_row + episode.num_steps + 1
        parts = []
        while row < stop:
            group = int(np.searchsorted(starts, row, side="right")) - 1
            if group != held:
                held, table = group, file.read_row_group(group)
            part = table.slice(row - starts[group], stop - row)  # cut at the end of the group
            parts.append(part)
            row += len(part)
        yield pa.concat_tables(parts)


def _summaries(file: pq.ParquetFile, name: str) -> list[EpisodeSummary]:
    table = file.read(LIGHT)
    columns = {column: table[column].to_numpy() for column in LIGHT}
    last = np.flatnonzero(columns["kind"] != STEP)  # every episode ends with such a row
    if len(last) == 0 or last[-1] != len(table) - 1:
        raise ValueError("its last episode has no end")
    first = np.concatenate([[0], last[:-1] + 1])
    rewards = np.add.reduceat(columns["reward"].astype(np.float64), first)
    return [
        EpisodeSummary(
            episode_id=int(columns["episode_id"][start]),
            num_steps=int(end - start),
            is_whole=bool(columns["is_first"][start]),
            terminated=bool(columns["kind"][end] == FINAL_TERMINATED),
            score=float(columns["score"][end]),
            reward_sum=float(reward),
            first_update=int(columns["collected_at_update"][start]),
            last_update=int(columns["collected_at_update"][end]),
            written_at=int(columns["written_at"][end]),
            file=name,
            first_row=int(start),
        )
        for start, end, reward in zip(first, last, rewards, strict=True)
    ]


def _warn(error: UnreadableFileError) -> None:
    warnings.warn(f"passed over a file that cannot be read: {error}", UserWarning, stacklevel=3)

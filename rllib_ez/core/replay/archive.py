"""Finished episodes, kept for good: in a folder or a store, so that they outlive the run.

One file per call, moved into place when whole; small files are merged into larger ones.
"""

from __future__ import annotations

import itertools
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow.fs import FileSystem  # type: ignore[import-untyped]

from rllib_ez.core.replay.archive_folder import SUFFIX, ArchiveFolder
from rllib_ez.core.replay.archive_format import (
    ArchiveSpec,
    FileHeader,
    UnreadableFileError,
    encode,
    episode_table,
    open_file,
)
from rllib_ez.core.replay.archive_reading import (
    ArchiveContents,
    EpisodeSummary,
    archived_segments,
    read_contents,
    read_summaries,
)
from rllib_ez.core.replay.border import check_segments
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.types import Episode, Segment
from rllib_ez.errors import ArchiveError, SettingError

__all__ = [
    "ArchiveContents",
    "ArchiveSpec",
    "EpisodeArchive",
    "EpisodeSummary",
    "archived_segments",
    "read_contents",
    "read_summaries",
]

MAX_SMALL_FILES = 32  # at the end of a writer's files; one more and they become one file
SMALL_BYTES = 2**19  # a file below this is small

_FILE = re.compile(
    r"(?P<writer>[\w-]+)\.(?P<first>\d{9,})(?:-(?P<last>\d{9,}))?" + re.escape(SUFFIX), re.ASCII
)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a writer; it stands for the numbers `first`..`last` of its appends."""

    writer: str
    first: int
    last: int
    num_bytes: int

    @property
    def name(self) -> str:
        """Sorts by writer, then by the order of writing."""
        until = "" if self.first == self.last else f"-{self.last:09d}"
        return f"{self.writer}.{self.first:09d}{until}{SUFFIX}"

    @classmethod
    def parse(cls, name: str, num_bytes: int) -> WrittenFile | None:
        """What a name says, None if it is not of our making."""
        match = _FILE.fullmatch(name)
        if match is None:
            return None
        first, last = match["first"], match["last"] or match["first"]
        return cls(match["writer"], int(first), int(last), num_bytes)


class EpisodeArchive:
    """Appends episodes to an archive. Several writers may share a folder, each by its name."""

    def __init__(
        self,
        uri: str | Path,
        *,
        spec: ArchiveSpec,
        writer: str,
        filesystem: FileSystem | None = None,
    ) -> None:
        """Makes the folder if need be, and goes on after what this writer wrote before.

        Args:
            uri: a local folder or a URI of pyarrow.fs; with `filesystem`, a path in it.
            spec: of every episode.
            writer: a short name such as "shard-0", of one process at a time.

        Raises:
            ArchiveError: the folder cannot be used, or holds episodes of another spec.
            SettingError: `writer` cannot be part of a file's name.
        """
        if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,63}", writer, re.ASCII):
            raise SettingError(f"writer must be 1..64 letters, digits, '-' or '_', got {writer!r}")
        self.spec = spec
        self.writer = writer
        self._folder = ArchiveFolder.at(uri, filesystem)
        self._folder.make()
        self._folder.delete([n for n in self._folder.drafts() if n.startswith(f".{writer}.")])
        parsed = [WrittenFile.parse(name, size) for name, size in self._folder.files().items()]
        known = [file for file in parsed if file is not None]
        own = [file for file in known if file.writer == writer]
        others = [file for file in known if file.writer != writer]
        self._written_at = max(self._check_newest(own), self._check_newest(others))
        self._files = self._without_merged(own)
        self._next = 1 + max((file.last for file in own), default=0)

    def append(self, episodes: Sequence[Episode]) -> None:
        """Writes finished episodes; they are there for good once this returns.

        Raises:
            ArchiveError: they cannot be written; none of them is in the archive.
            ValueError: an episode has a wrong shape, dtype or value; none was written.
        """
        if not episodes:
            return
        check_episodes(episodes, self.spec)
        # Of two copies of an episode the later one counts, even if the clock was set back.
        self._written_at = max(time.time_ns(), self._written_at + 1)
        tables = (episode_table(e, self.spec, self._written_at) for e in episodes)
        number, self._next = self._next, self._next + 1  # never again, even if this one fails
        self._files.append(self._put(tables, number, number))
        self._merge_small()

    def _put(self, tables: Iterable[pa.Table], first: int, last: int) -> WrittenFile:
        content = encode(tables, FileHeader(spec=self.spec, written_at=self._written_at))
        file = WrittenFile(self.writer, first, last, content.size)
        self._folder.put(file.name, content)
        return file

    def _merge_small(self) -> None:
        """Makes one file of the small ones at the end; what cannot be merged stays as it is."""
        small = itertools.takewhile(lambda f: f.num_bytes < SMALL_BYTES, reversed(self._files))
        tail = list(small)[::-1]
        if len(tail) <= MAX_SMALL_FILES:
            return
        try:
            merged = self._put(self._rows(tail), tail[0].first, tail[-1].last)
        except (ArchiveError, UnreadableFileError) as error:  # all episodes are there already
            warnings.warn(f"small files were not merged: {error}", UserWarning, stacklevel=3)
            self._files = []  # these are not tried again before the next start
            return
        self._folder.delete([file.name for file in tail])
        self._files[-len(tail) :] = [merged]

    def _rows(self, files: Sequence[WrittenFile]) -> Iterator[pa.Table]:
        for written in files:
            with open_file(self._folder, written.name) as (_, file):
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)

    def _check_newest(self, files: Sequence[WrittenFile]) -> int:
        """When the newest readable file was written, 0 if there is none; its spec must be ours."""
        for written in sorted(files, key=lambda f: f.last, reverse=True):
            try:
                with open_file(self._folder, written.name) as (header, _):
                    where = f"{self._folder.shown}/{written.name}"
                    self.spec.check_same(header.spec, where)
                    return header.written_at
            except UnreadableFileError:
                continue
        return 0

    def _without_merged(self, files: Sequence[WrittenFile]) -> list[WrittenFile]:
        """Deletes what a kill during a merge left beside the merged file, and returns the rest."""
        kept: list[WrittenFile] = []
        for file in sorted(files, key=lambda f: (f.first, -f.last)):
            if kept and file.last <= kept[-1].last and self._check_newest(kept[-1:]):
                self._folder.delete([file.name])
            else:
                kept.append(file)
        return kept


def check_episodes(episodes: Sequence[Episode], spec: ArchiveSpec) -> None:
    """Raises ValueError, by place, name and value, unless replay could take each of them back."""
    layout = SlotLayout(spec.frame_shape, spec.dtype, spec.num_actions)
    for place, episode in enumerate(episodes):
        try:
            check_segments([_as_segment(episode)], layout, ())
        except ValueError as error:
            text = str(error).removeprefix("segments[0].")
            raise ValueError(f"episodes[{place}].{text}") from None
        updates, rows = episode.collected_at_update, len(episode.action) + 1
        if updates.shape != (rows,) or updates.dtype != np.int64:
            raise ValueError(
                f"episodes[{place}].collected_at_update must be int64 {(rows,)}, got "
                f"{updates.dtype} {updates.shape}"
            )


def _as_segment(episode: Episode) -> Segment:
    return Segment(
        episode_id=episode.episode_id,
        is_first=episode.is_first,
        frames=episode.frames,
        action=episode.action,
        reward=episode.reward,
        policy=episode.policy,
        root_value=episode.root_value,
        terminated=episode.terminated,
        truncated=not episode.terminated,
        collected_at_update=0,
        score=episode.score,
    )

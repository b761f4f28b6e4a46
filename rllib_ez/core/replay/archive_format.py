"""The files of an archive: Parquet, one row per observation. docs/archive.md has the columns.

Axes: T steps of an episode, A actions.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

import rllib_ez
from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.core.replay.links import FINAL_TERMINATED, FINAL_TRUNCATED, STEP
from rllib_ez.core.types import Episode, Segment
from rllib_ez.errors import ArchiveError, SettingError

FORMAT = 1
KEY = b"rllib_ez"  # of the JSON in a file's metadata
GROUP_BYTES = 2**25  # of frames in a row group: what has to be read to see one of its episodes
GROUP_ROWS = 2**16
LEVEL = 6  # of zstd: Pong shrinks a sixth more than with 3, still at 1 GB/s
FRAME_DTYPES = ("uint8", "float32")
PLAIN = ("frame", "policy", "root_value")  # seldom twice the same: no dictionary, no statistics


class UnreadableFileError(Exception):
    """A file that is cut short, damaged or not ours; readers warn and pass over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSpec:
    """Whose episodes an archive holds. Frames are kept as the environment gives them."""

    env: str  # its name, for people
    frame_shape: tuple[int, ...]  # [H, W, C] or [D]
    frame_dtype: str  # "uint8" or "float32"
    num_actions: int

    def __post_init__(self) -> None:
        if min(self.frame_shape, default=0) < 1 or self.num_actions < 1:
            raise SettingError(
                f"frame_shape and num_actions must be >= 1, got {self.frame_shape} and "
                f"{self.num_actions}"
            )
        if self.frame_dtype not in FRAME_DTYPES:
            raise SettingError(f"frame_dtype must be in {FRAME_DTYPES}, got {self.frame_dtype!r}")

    @property
    def dtype(self) -> np.dtype:
        """Of a frame."""
        return np.dtype(self.frame_dtype)

    @property
    def frame_bytes(self) -> int:
        """Of one frame."""
        return math.prod(self.frame_shape) * self.dtype.itemsize

    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        types = {
            "episode_id": pa.int64(),
            "step": pa.int32(),
            "is_first": pa.bool_(),
            "kind": pa.uint8(),
            "action": pa.int32(),
            "reward": pa.float32(),
            "root_value": pa.float32(),
            "policy": pa.list_(
                pa.field("item", pa.float32(), nullable=False), list_size=self.num_actions
            ),
            "collected_at_update": pa.int64(),
            "score": pa.float32(),
            "written_at": pa.int64(),
            "frame": pa.binary(self.frame_bytes),
        }
        return pa.schema([pa.field(n, t, nullable=n == "score") for n, t in types.items()])

    def check_same(self, other: ArchiveSpec, where: str) -> None:
        """Raises ArchiveError, with both values, unless the other's frames and actions are ours."""
        for name in ("frame_shape", "frame_dtype", "num_actions"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise ArchiveError(
                    f"{name} must be {ours}, as here ({self.env}), got {theirs} ({other.env}) in "
                    f"{where}; use another folder for each environment and frame size"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What a file says of itself."""

    spec: ArchiveSpec
    written_at: int  # ns since 1970, the latest of its rows
    written_by: str = rllib_ez.__version__

    def to_json(self) -> bytes:
        """As it stands in the file."""
        spec = self.spec
        return json.dumps(
            {
                "format": FORMAT,
                "env": spec.env,
                "frame_shape": spec.frame_shape,
                "frame_dtype": spec.frame_dtype,
                "num_actions": spec.num_actions,
                "written_at": self.written_at,
                "written_by": self.written_by,
            }
        ).encode()

    @classmethod
    def of(cls, file: pq.ParquetFile, where: str) -> FileHeader:
        """Reads it.

        Raises:
            ArchiveError: the file's format is newer.
            KeyError, TypeError, ValueError: this is no file of an archive.
        """
        entries: dict[str, Any] = json.loads((file.metadata.metadata or {})[KEY])
        if entries["format"] > FORMAT:
            raise ArchiveError(
                f"archive must be of format {FORMAT} or older, got {entries['format']} in {where}, "
                f"written by rllib_ez {entries.get('written_by')}: install that version"
            )
        spec = ArchiveSpec(
            env=str(entries["env"]),
            frame_shape=tuple(entries["frame_shape"]),
            frame_dtype=str(entries["frame_dtype"]),
            num_actions=int(entries["num_actions"]),
        )
        if not file.schema_arrow.equals(spec.schema()):
            raise ValueError("its columns are not those of its header")
        return cls(spec=spec, written_at=entries["written_at"], written_by=entries["written_by"])


@contextlib.contextmanager
def open_file(folder: ArchiveFolder, name: str) -> Iterator[tuple[FileHeader, pq.ParquetFile]]:
    """Opens a file of the archive; whatever is wrong with it, then or later, is told alike.

    Raises:
        UnreadableFileError: it is cut short, damaged, not ours or gone.
        ArchiveError: it is of a newer format.
    """
    where = f"{folder.shown}/{name}"
    try:
        with (
            folder.open(name) as source,
            pq.ParquetFile(source, page_checksum_verification=True) as file,
        ):
            yield FileHeader.of(file, where), file
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnreadableFileError(f"{where} ({type(error).__name__}: {reason})") from error


def episode_table(episode: Episode, spec: ArchiveSpec, written_at: int) -> pa.Table:
    """T + 1 rows; what belongs to an action is 0 in the last one. Frames are not copied."""
    steps = len(episode.action)
    rows = steps + 1

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])

    kind = np.full(rows, STEP, np.uint8)
    kind[-1] = FINAL_TERMINATED if episode.terminated else FINAL_TRUNCATED
    schema = spec.schema()
    frames = pa.py_buffer(np.ascontiguousarray(episode.frames))
    columns = {
        "episode_id": np.full(rows, episode.episode_id, np.int64),
        "step": np.arange(rows, dtype=np.int32),
        "is_first": (np.arange(rows) == 0) & episode.is_first,
        "kind": kind,
        "action": padded(episode.action),
        "reward": padded(episode.reward),
        "root_value": padded(episode.root_value),
        "policy": pa.FixedSizeListArray.from_arrays(
            padded(episode.policy).ravel(), type=schema.field("policy").type
        ),
        "collected_at_update": episode.collected_at_update,
        "score": pa.array([None] * steps + [episode.score], pa.float32()),
        "written_at": np.full(rows, written_at, np.int64),
        "frame": pa.Array.from_buffers(schema.field("frame").type, rows, [None, frames]),
    }
    return pa.table(columns, schema=schema)


def encode(tables: Iterable[pa.Table], header: FileHeader) -> pa.Buffer:
    """A whole file. Tables are taken one by one; about two row groups are held at a time."""
    spec = header.spec
    rows = max(1, min(GROUP_ROWS, GROUP_BYTES // spec.frame_bytes))
    schema = spec.schema().with_metadata({KEY: header.to_json()})
    known = [name for name in schema.names if name not in PLAIN]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=known,
        write_statistics=known,
        write_page_checksum=True,
    ) as file:
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(map(len, waiting)) >= rows:
                file.write_table(pa.concat_tables(waiting), row_group_size=rows)
                waiting = []
        if waiting:
            file.write_table(pa.concat_tables(waiting), row_group_size=rows)
    return sink.getvalue()


def decode(table: pa.Table, spec: ArchiveSpec, *, episode_id: int) -> Segment:
    """The rows of one episode as one segment, whose arrays are its own."""
    steps = len(table) - 1

    def column(name: str) -> np.ndarray:
        values: np.ndarray = np.array(table[name][:steps].to_numpy())
        return values

    policy = [chunk.flatten().to_numpy() for chunk in table["policy"].chunks]
    kind = table["kind"][steps].as_py()
    return Segment(
        episode_id=episode_id,
        is_first=table["is_first"][0].as_py(),
        frames=_frames(table["frame"], spec),
        action=column("action"),
        reward=column("reward"),
        policy=np.concatenate(policy).reshape(steps + 1, spec.num_actions)[:steps],
        root_value=column("root_value"),
        terminated=kind == FINAL_TERMINATED,
        truncated=kind != FINAL_TERMINATED,
        collected_at_update=0,
        score=table["score"][steps].as_py(),
    )


def _frames(column: pa.ChunkedArray, spec: ArchiveSpec) -> np.ndarray:
    """[T + 1, *frame] out of the bytes; copied once."""
    frames = np.empty((len(column), *spec.frame_shape), spec.dtype)
    flat = frames.reshape(len(column), -1).view(np.uint8)
    row = 0
    for chunk in column.chunks:
        start, size = chunk.offset * spec.frame_bytes, len(chunk) * spec.frame_bytes
        content = np.frombuffer(chunk.buffers()[1], np.uint8, size, start)
        flat[row : row + len(chunk)] = content.reshape(len(chunk), -1)
        row += len(chunk)
    return frames

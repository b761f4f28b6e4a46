"""Replay's bulk on disk: blocks of slots, a file each, never written to again.

A block's file name is used once and never for other content, so a file that has the name and
the size has the content, wherever it lies. A block that has not changed since it was last saved
is not written again: the new folder gets a hard link to the file, and is complete by itself.
Images are compressed (Atari's to a three hundredth or less, faster than a disk writes); every
file has a checksum in the index, since zstd would decompress some damage in silence.
Axes: U used slots.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from rllib_ez.core.replay.new_file import new_file
from rllib_ez.errors import CheckpointError

SUFFIX = ".block"
CODEC, LEVEL = "zstd", 3
NAME = re.compile(r"\d{6,}-[0-9a-f]{16}\.block")


@dataclass(frozen=True, slots=True)
class BlockFile:
    """One block on disk: one .npy after the other, a column each; compressed, [num_bytes] u8."""

    name: str
    num_bytes: int
    stamp: int  # that the ring gave the block's content
    checksum: int | None  # CRC-32 of the file; None: written before there were any


@dataclass(frozen=True, slots=True)
class SavedBlocks:
    """The blocks of one save."""

    folder: Path
    block_slots: int
    columns: dict[str, tuple[str, tuple[int, ...]]]  # in a file's order: dtype, shape [U, ...]
    files: tuple[BlockFile, ...]  # by block
    compressed: frozenset[str]  # columns

    def outlines(self) -> dict[str, np.ndarray]:
        """Arrays with the columns' shapes and dtypes, which take no memory and hold zeros."""
        return {
            name: np.broadcast_to(np.zeros((), dtype), shape)
            for name, (dtype, shape) in self.columns.items()
        }

    def check_whole(self) -> None:
        """Raises CheckpointError unless every block is there in its full size."""
        num_used = next((shape[0] for _, shape in self.columns.values()), 0)
        if self.block_slots < 1 or len(self.files) != -(-num_used // self.block_slots):
            raise CheckpointError(
                f"replay in {self.folder} is torn: {len(self.files)} blocks of "
                f"{self.block_slots} slots must hold {num_used}"
            )
        for file in self.files:
            if not NAME.fullmatch(file.name):
                raise CheckpointError(
                    f"replay in {self.folder} is torn: {file.name} must be a block's name"
                )
            size = (self.folder / file.name).stat().st_size
            if size != file.num_bytes:
                raise CheckpointError(
                    f"replay in {self.folder} is torn: {file.name} must be of "
                    f"{file.num_bytes} bytes, got {size}"
                )


def write_blocks(
    folder: Path,
    columns: Mapping[str, np.ndarray],
    *,
    stamps: np.ndarray,
    block_slots: int,
    before: SavedBlocks | None,
) -> tuple[SavedBlocks, int]:
    """Writes the blocks that changed and links the others.

    Args:
        columns: [U, ...] each.
        stamps: [num_blocks] i64, a block's is never the same for two contents.
        before: the last save of this ring; None writes all.

    Returns:
        What lies in the folder now, and how many of its bytes were not written anew.
    """
    outline = {name: (array.dtype.str, array.shape) for name, array in columns.items()}
    compressed = frozenset(name for name, array in columns.items() if is_image(array))
    if before is not None and (before.block_slots, before.compressed) != (block_slots, compressed):
        before = None
    num_used = next(iter(columns.values())).shape[0]
    files, bytes_linked = list[BlockFile](), 0
    for number in range(-(-num_used // block_slots)):
        stamp = int(stamps[number])
        file = _link_unchanged(folder, before, number, stamp)
        bytes_linked += file.num_bytes if file else 0
        if file is None:
            rows = slice(number * block_slots, (number + 1) * block_slots)
            parts = [
                _compressed(array[rows]) if name in compressed else array[rows]
                for name, array in columns.items()
            ]
            path = folder / f"{number:06}-{secrets.token_hex(8)}{SUFFIX}"
            file = _write_block(path, parts, stamp)
        files.append(file)
    return SavedBlocks(folder, block_slots, outline, tuple(files), compressed), bytes_linked


def is_image(column: np.ndarray) -> bool:
    """Whether a column [U, ...] holds images: bytes in two dimensions at least."""
    return column.dtype == np.uint8 and column.ndim >= 3


def read_blocks(saved: SavedBlocks, columns: Mapping[str, np.ndarray]) -> None:
    """Fills columns [U, ...], which are `saved.columns` in their order.

    Raises:
        CheckpointError: a block is gone, cut short, damaged or of other shapes.
    """
    for number, file in enumerate(saved.files):
        rows = slice(number * saved.block_slots, (number + 1) * saved.block_slots)
        try:
            content = (saved.folder / file.name).read_bytes()
            checksum = zlib.crc32(content)
            if file.checksum not in (None, checksum):
                raise ValueError(f"its checksum must be {file.checksum}, got {checksum}")
            stream = io.BytesIO(content)
            for name, column in columns.items():
                fill = _decompress if name in saved.compressed else _fill
                fill(column[rows], np.load(stream, allow_pickle=False))
        except (EOFError, OSError, ValueError) as error:
            raise CheckpointError(f"{saved.folder / file.name} is torn: {error}") from error


def _link_unchanged(
    folder: Path, before: SavedBlocks | None, number: int, stamp: int
) -> BlockFile | None:
    """The block as it was saved before, in `folder` too; None if it changed or cannot be had."""
    if before is None or number >= len(before.files):
        return None
    file = before.files[number]
    if file.stamp != stamp:
        return None
    source, target = before.folder / file.name, folder / file.name
    if _has_size(target, file.num_bytes):  # saved over the same folder, or over one before
        return file
    try:
        if _has_size(source, file.num_bytes):
            os.link(source, target)
            return file
    except OSError:  # another file system, one without hard links, or too many of them
        pass
    return None


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except OSError:
        return False


def _write_block(path: Path, parts: list[np.ndarray], stamp: int) -> BlockFile:
    stream = io.BytesIO()
    for part in parts:
        np.save(stream, part, allow_pickle=False)
    content = stream.getbuffer()
    with new_file(path) as file:
        file.write(content)
    return BlockFile(path.name, len(content), stamp, zlib.crc32(content))


def _compressed(part: np.ndarray) -> np.ndarray:
    """[num_bytes] u8."""
    codec = pa.Codec(CODEC, compression_level=LEVEL)
    return np.frombuffer(codec.compress(np.ascontiguousarray(part).reshape(-1)), np.uint8)


def _decompress(target: np.ndarray, part: np.ndarray) -> None:
    # As a stream: in one piece pyarrow would not tell a content that is too short.
    with pa.input_stream(pa.py_buffer(part), compression=CODEC) as stream:
        content = stream.read()
    if len(content) != target.nbytes:
        raise ValueError(f"must be {target.nbytes:,} bytes when decompressed, got {len(content):,}")
    target[...] = np.frombuffer(content, target.dtype).reshape(target.shape)


def _fill(target: np.ndarray, part: np.ndarray) -> None:
    if part.shape != target.shape or part.dtype != target.dtype:
        raise ValueError(f"must be {target.dtype} {target.shape}, got {part.dtype} {part.shape}")
    target[...] = part

"""A replay in a folder: blocks, small arrays as .npy, and one JSON that is written last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ez.core.replay.blocks import SUFFIX, BlockFile, SavedBlocks, write_blocks
from rllib_ez.core.replay.layout import WRITTEN_ONCE
from rllib_ez.core.replay.new_file import DRAFT, new_file
from rllib_ez.core.replay.state import State
from rllib_ez.errors import CheckpointError

FORMAT = 3  # 1 had each column in one .npy, 2 blocks without compression and checksums
INDEX = "replay.json"
MAP_FROM_BYTES = 2**20  # larger files of format 1 are read page by page, not held twice


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What a save cost."""

    bytes_written: int
    bytes_linked: int  # shared with an earlier save


def write_state(
    folder: Path,
    state: State,
    *,
    stamps: np.ndarray,
    block_slots: int,
    before: SavedBlocks | None,
) -> tuple[SavedBlocks, SaveReport]:
    """Writes a state; without the JSON, which comes last, the folder is not a state.

    Args and blocks as `write_blocks`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in state.items() if name not in arrays}
    bulk = {name: arrays.pop(name) for name in WRITTEN_ONCE}
    blocks, linked = write_blocks(
        folder, bulk, stamps=stamps, block_slots=block_slots, before=before
    )
    small = sum(_write_array(folder / f"{name}.npy", array) for name, array in arrays.items())
    index = {"format": FORMAT, "numbers": numbers, "arrays": sorted(arrays), **_index_of(blocks)}
    text = json.dumps(index, indent=1).encode()
    with new_file(folder / INDEX) as file:
        file.write(text)
    _sweep(folder, {file.name for file in blocks.files})
    written = sum(file.num_bytes for file in blocks.files) - linked + small + len(text)
    return blocks, SaveReport(written, linked)


def read_state(folder: Path) -> tuple[State, SavedBlocks | None]:
    """Reads what `write_state` wrote, except for the blocks.

    Returns:
        The state, in which columns that lie in blocks are outlines without content, and those
        blocks; None for a folder of format 1, whose state is all there.

    Raises:
        CheckpointError: the folder holds no state, half of one, or one of a newer version.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        written = index["format"]
        if written not in (1, 2, FORMAT):
            raise CheckpointError(
                f"replay in {folder} must be of format 1 to {FORMAT}, got {written}; "
                "read it with the version of rllib_ez that wrote it"
            )
        state: State = {name: int(number) for name, number in index["numbers"].items()}
        state |= {name: _read_array(folder / f"{name}.npy") for name in index["arrays"]}
        if written == 1:
            return _from_format_1(state), None
        blocks = _blocks_of(folder, index)
        blocks.check_whole()
        return {**state, **blocks.outlines()}, blocks
    except FileNotFoundError as error:
        raise CheckpointError(f"replay is missing a file: {error.filename}") from error
    except (AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"replay in {folder} is torn: {error}") from error


def _index_of(blocks: SavedBlocks) -> dict[str, Any]:
    return {
        "block_slots": blocks.block_slots,
        "columns": blocks.columns,
        "compressed": sorted(blocks.compressed),
        "blocks": [astuple(file) for file in blocks.files],
    }


def _blocks_of(folder: Path, index: dict[str, Any]) -> SavedBlocks:
    return SavedBlocks(
        folder,
        int(index["block_slots"]),
        {name: (dtype, tuple(shape)) for name, (dtype, shape) in index["columns"].items()},
        tuple(_block_file(entry) for entry in index["blocks"]),
        frozenset(index.get("compressed", ())),  # format 2 has none
    )


def _block_file(entry: list[Any]) -> BlockFile:
    name, num_bytes, stamp, checksum = entry if len(entry) == 4 else [*entry, None]  # format 2
    return BlockFile(name, int(num_bytes), int(stamp), checksum)


def _write_array(path: Path, array: np.ndarray) -> int:
    with new_file(path) as file:
        np.save(file, array, allow_pickle=False)
        return file.tell()


def _read_array(path: Path) -> np.ndarray:
    large = path.stat().st_size >= MAP_FROM_BYTES
    array: np.ndarray = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return array


def _from_format_1(state: State) -> State:
    """Counts context as today: where stacks are single frames, format 1 had none."""
    if state["frame_stack"] == 1:
        # Whether a chain began with its episode is not known: the careful answer is no.
        state["context"] = (np.asarray(state["prev_slot"]) >= 0).astype(np.uint8)
    return state


def _sweep(folder: Path, keep: Iterable[str]) -> None:
    """Removes what earlier saves to this folder left."""
    format_1 = {f"{name}.npy" for name in WRITTEN_ONCE}
    for path in list(folder.iterdir()):
        ours = path.suffix in (SUFFIX, DRAFT) or path.name in format_1
        if ours and path.name not in keep:
            path.unlink()

"""Arrays and numbers in a folder, as .npy files and one small JSON that is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rllib_ez.errors import CheckpointError

FORMAT = 1
INDEX = "replay.json"
MAP_FROM_BYTES = 2**20  # larger files are read page by page, not held twice

State = dict[str, "np.ndarray | int"]


def write_state(folder: Path, state: Mapping[str, np.ndarray | int]) -> None:
    """Writes a state; without the JSON, which comes last, the folder is not a state."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in state.items() if name not in arrays}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    index = {"format": FORMAT, "numbers": numbers, "arrays": sorted(arrays)}
    (folder / INDEX).write_text(json.dumps(index, indent=1))


def read_state(folder: Path) -> State:
    """Reads what `write_state` wrote.

    Raises:
        CheckpointError: the folder holds no state, half of one, or one of a newer version.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        written = index["format"]
        if written != FORMAT:
            raise CheckpointError(
                f"replay in {folder} must be of format {FORMAT}, got {written}; "
                "read it with the version of rllib_ez that wrote it"
            )
        return {
            **{name: int(number) for name, number in index["numbers"].items()},
            **{name: _read_array(folder / f"{name}.npy") for name in index["arrays"]},
        }
    except FileNotFoundError as error:
        raise CheckpointError(f"replay is missing a file: {error.filename}") from error
    except (EOFError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"replay in {folder} is torn: {error}") from error


def _read_array(path: Path) -> np.ndarray:
    large = path.stat().st_size >= MAP_FROM_BYTES
    array: np.ndarray = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return array


def check_state(state: State, own: State) -> None:
    """Raises CheckpointError unless a state has the names, settings and shapes of one's own."""
    if state.keys() != own.keys():
        raise CheckpointError(f"replay's state must hold {sorted(own)}, got {sorted(state)}")
    for name in ("capacity", "frame_stack", "lookahead"):
        if state[name] != own[name]:
            raise CheckpointError(
                f"{name} must be that of the saved replay, {state[name]}, got {own[name]}; "
                "keep the replay's settings when you resume"
            )
    used = int(state["num_used"])
    if not 0 <= used <= int(own["capacity"]):
        raise CheckpointError(f"num_used must be in [0, {own['capacity']}], got {used}")
    for name, array in own.items():
        if not isinstance(array, np.ndarray):
            continue
        saved = np.asarray(state[name])
        rows = len(saved) if name == "open_episodes" else used
        shape = (rows, *array.shape[1:])
        if saved.shape != shape or saved.dtype != array.dtype:
            raise CheckpointError(
                f"{name} must be {array.dtype} {shape}, got {saved.dtype} {saved.shape}"
            )

"""The state of a replay as arrays and numbers: taken, checked, put back. Axes: U used slots."""

from __future__ import annotations

import numpy as np

from rllib_ez.core.replay.blocks import SavedBlocks, read_blocks
from rllib_ez.core.replay.ring import Ring
from rllib_ez.core.replay.sum_tree import SumTree
from rllib_ez.errors import CheckpointError

State = dict[str, "np.ndarray | int"]


def state_of(ring: Ring, tree: SumTree) -> State:
    """Everything: views [U, ...] of the slots in use, open episodes, and numbers."""
    rows = [(episode, *tail) for episode, tail in ring.tails.items()]
    return {
        **{name: getattr(ring, name)[: ring.num_used] for name in ring.layout.fields()},
        "mass": tree.mass[: ring.num_used],
        "open_episodes": np.array(rows, np.int64).reshape(-1, 3),
        "capacity": ring.capacity,
        "frame_stack": ring.frame_stack,
        "lookahead": ring.lookahead,
        "num_used": ring.num_used,
        "oldest": ring.oldest,
        "num_steps_added": ring.num_steps_added,
    }


def restore(ring: Ring, tree: SumTree, state: State, *, blocks: SavedBlocks | None) -> None:
    """Fills an empty ring and tree from a state that `check_state` let pass.

    Args:
        blocks: the files that hold the columns they name, in place of `state`; None if none do.

    Raises:
        CheckpointError: a block cannot be read.
        ValueError: a mass is negative or not finite.
    """
    used = int(state["num_used"])
    columns = {name: getattr(ring, name)[:used] for name in ring.layout.fields()}
    in_blocks = blocks.columns if blocks is not None else {}
    for name in columns.keys() - in_blocks.keys():
        columns[name][...] = state[name]
    if blocks is not None:
        read_blocks(blocks, {name: columns[name] for name in in_blocks})
        if blocks.block_slots == ring.block_slots:
            ring.stamps[: len(blocks.files)] = [file.stamp for file in blocks.files]
    ring.oldest, ring.num_used = int(state["oldest"]), used
    ring.num_steps_added = int(state["num_steps_added"])
    rows = np.asarray(state["open_episodes"]).tolist()
    ring.tails = {episode: (slot, generation) for episode, slot, generation in rows}
    tree.restore(np.asarray(state["mass"]))


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

"""Reanalysed targets, remembered per slot of a replay until the target network changes.

Axes: U positions asked for together, M positions computed together, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rllib_ez.core.types import Array, FreshTargets, PositionBatch


class Positions(Protocol):
    """What the cache asks of a replay."""

    capacity: int
    generation: np.ndarray  # [capacity] i64

    def stack_slots(self, slots: np.ndarray) -> np.ndarray:
        """The slots [M, L] of the frames in each observation, of slots [M] i64."""
        ...

    def gather(self, slots: np.ndarray) -> Array:
        """The frames [..., *frame] of slots [...], copied."""
        ...


@dataclass(slots=True)
class Wanted:
    """The targets of U positions for one target network: those known, and those to come.

    A copy: what happens to the slots later does not touch it.
    """

    version: int
    slots: np.ndarray  # [U] i64, ascending
    generation: np.ndarray  # [U] i64
    policy: np.ndarray  # [U, A] f32, this and the next two only where `known`
    root_value: np.ndarray  # [U] f32
    network_value: np.ndarray  # [U] f32
    known: np.ndarray  # [U] bool

    def rows(self, slots: np.ndarray) -> np.ndarray:
        """Where slots [...] stand in here; slots that were not asked for give some row."""
        return np.minimum(np.searchsorted(self.slots, slots), len(self.slots) - 1)

    def value(self, bootstrap: str) -> np.ndarray:
        """[U] f32: values to bootstrap from, by "search" or by "network"."""
        return self.root_value if bootstrap == "search" else self.network_value

    def shared(self, other: Wanted) -> tuple[np.ndarray, np.ndarray]:
        """Rows [U] of `other` for each row here, and [U] bool: it is the same target there."""
        if other.version != self.version or not len(other.slots):
            return np.zeros(len(self.slots), np.int64), np.zeros(len(self.slots), bool)
        row = other.rows(self.slots)
        same = (other.slots[row] == self.slots) & (other.generation[row] == self.generation)
        return row, same

    def fill(self, other: Wanted) -> None:
        """Takes over what `other` knows and this does not."""
        row, same = self.shared(other)
        here = np.flatnonzero(same & ~self.known)
        here = here[other.known[row[here]]]
        there = row[here]
        self.policy[here] = other.policy[there]
        self.root_value[here] = other.root_value[there]
        self.network_value[here] = other.network_value[there]
        self.known[here] = True

    def answer(self, rows: np.ndarray, targets: FreshTargets) -> None:
        """Writes what was computed for rows [M]."""
        self.policy[rows] = targets.policy
        self.root_value[rows] = targets.root_value
        self.network_value[rows] = targets.network_value
        self.known[rows] = True


class TargetCache:
    """The reanalysed targets of every slot of a replay, with the version they are from."""

    def __init__(
        self, replay: Positions, *, num_actions: int, shard: int = 0, num_shards: int = 1
    ) -> None:
        self.replay = replay
        self.shard, self.num_shards = shard, num_shards
        self.policy = np.zeros((replay.capacity, num_actions), np.float32)
        self.root_value = np.zeros(replay.capacity, np.float32)
        self.network_value = np.zeros(replay.capacity, np.float32)
        self._version = np.full(replay.capacity, -1, np.int64)
        self._generation = np.zeros(replay.capacity, np.int64)
        self.num_asked = 0
        self.num_computed = 0

    @staticmethod
    def bytes_per_position(num_actions: int) -> int:
        """What one slot costs here, for the memory budget."""
        return 4 * num_actions + 4 + 4 + 8 + 8

    def ask(self, slots: np.ndarray, *, version: int) -> Wanted:
        """The targets of slots [M] i64 (repeats allowed) as far as they are remembered."""
        slots = np.unique(slots)
        generation = self.replay.generation[slots]
        self.num_asked += len(slots)
        return Wanted(
            version=version,
            slots=slots,
            generation=generation,
            policy=self.policy[slots],
            root_value=self.root_value[slots],
            network_value=self.network_value[slots],
            known=(self._version[slots] == version) & (self._generation[slots] == generation),
        )

    def positions(self, wanted: Wanted, rows: np.ndarray) -> PositionBatch:
        """What has to be searched for rows [M] of `wanted`, whose slots are still as they were."""
        slots = wanted.slots[rows]
        stack = self.replay.stack_slots(slots)
        used, index = np.unique(stack, return_inverse=True)
        number = wanted.generation[rows] * self.num_shards + self.shard
        return PositionBatch(
            frames=self.replay.gather(used),
            stack=index.reshape(stack.shape),
            position=number * self.replay.capacity + slots,
        )

    def remember(self, wanted: Wanted, rows: np.ndarray) -> None:
        """Keeps rows [M] of `wanted`, computed just now, where the slot is still the same one."""
        self.num_computed += len(rows)
        slots, generation = wanted.slots[rows], wanted.generation[rows]
        alive = self.replay.generation[slots] == generation
        alive &= ~(
            (self._generation[slots] == generation) & (self._version[slots] > wanted.version)
        )
        rows, slots = rows[alive], slots[alive]
        self.policy[slots] = wanted.policy[rows]
        self.root_value[slots] = wanted.root_value[rows]
        self.network_value[slots] = wanted.network_value[rows]
        self._version[slots] = wanted.version
        self._generation[slots] = generation[alive]

    def get_state(self) -> dict[str, np.ndarray]:
        """All that is remembered, as a copy: it need not be computed again after a stop."""
        known = np.flatnonzero(self._version >= 0)
        return {
            "slots": known,
            "policy": self.policy[known],
            "root_value": self.root_value[known],
            "network_value": self.network_value[known],
            "version": self._version[known],
            "generation": self._generation[known],
            "counters": np.array([self.num_asked, self.num_computed]),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` gave."""
        for array in (self.policy, self.root_value, self.network_value, self._generation):
            array[:] = 0
        self._version[:] = -1
        known = state["slots"]
        self.policy[known] = state["policy"]
        self.root_value[known] = state["root_value"]
        self.network_value[known] = state["network_value"]
        self._version[known] = state["version"]
        self._generation[known] = state["generation"]
        self.num_asked, self.num_computed = (int(n) for n in state["counters"])

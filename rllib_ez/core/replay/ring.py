"""Positions in arrival order, linked to episodes, each frame once.

One slot is one position: a frame and, unless it is an episode's final observation, the action
taken there, the reward that followed, and what the acting search said. See `links.py`.
Axes: B start positions, M slots, L frame_stack, A actions.
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.replay.links import (
    EMPTY,
    FINAL_TERMINATED,
    FINAL_TRUNCATED,
    STEP,
    Links,
    append,
    close,
    follow,
    look_back,
)
from rllib_ez.core.replay.mirror import FrameMirror
from rllib_ez.core.replay.validity import check_links, open_tails
from rllib_ez.core.types import Segment
from rllib_ez.errors import SettingError

PER_STEP = ("action", "reward", "policy", "root_value")

Changes = tuple[np.ndarray, np.ndarray]  # slots [M] i64, and [M] bool: may it be drawn from now on


class Ring:
    """`capacity` slots; the oldest is written next."""

    frame: np.ndarray  # [capacity, *frame]
    action: np.ndarray  # [capacity] i32, 0 at a final observation, as the next three
    reward: np.ndarray  # [capacity] f32
    policy: np.ndarray  # [capacity, A] f32
    root_value: np.ndarray  # [capacity] f32
    collected_at_update: np.ndarray  # [capacity] i64
    next_slot: np.ndarray  # [capacity] i64, as all that follows see `Links`
    prev_slot: np.ndarray
    generation: np.ndarray
    kind: np.ndarray
    context: np.ndarray

    def __init__(
        self, layout: SlotLayout, capacity: int, *, frame_stack: int, lookahead: int
    ) -> None:
        if not 1 <= frame_stack <= 256:
            raise SettingError(f"frame_stack must be in [1, 256], got {frame_stack}")
        self.layout = layout
        self.capacity = capacity
        self.frame_stack = frame_stack
        self.lookahead = lookahead
        for name, (shape, dtype) in layout.fields().items():
            setattr(self, name, np.zeros((capacity, *shape), dtype))  # committed when used
        self.next_slot.fill(-1)
        self.prev_slot.fill(-1)
        self.links = Links(self.next_slot, self.prev_slot, self.generation, self.kind, self.context)
        self.block_slots = layout.block_slots()
        # [num_blocks] i64, a block's stamp grows whenever one of its WRITTEN_ONCE changes
        self.stamps = np.zeros(-(-capacity // self.block_slots), np.int64)
        self.oldest = 0  # the slot that is written next
        self.num_used = 0
        self.num_steps_added = 0
        self.tails: dict[int, tuple[int, int]] = {}  # open episode: its last slot and generation
        self.mirror: FrameMirror | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all arrays when every page of them is in use."""
        return sum(getattr(self, name).nbytes for name in self.layout.fields())

    @property
    def newest(self) -> tuple[int, int]:
        """The slot written last, and its generation."""
        slot = (self.oldest - 1) % self.capacity
        return slot, int(self.generation[slot])

    def append(self, segment: Segment) -> Changes:
        """Writes a segment over the oldest slots, linked to its episode's last one."""
        num, steps = len(segment.frames), len(segment.action)
        kinds = np.full(num, STEP, np.uint8)
        kinds[steps:] = FINAL_TERMINATED if segment.terminated else FINAL_TRUNCATED
        before = self._tail(segment.episode_id)
        reach = (self.frame_stack, self.lookahead)
        last, slots, sampleable = append(
            self.links, self.oldest, before, kinds, segment.is_first, reach
        )
        self._write(segment)
        self.oldest = (self.oldest + num) % self.capacity
        self.num_used = min(self.capacity, self.num_used + num)
        self.num_steps_added += steps
        if segment.ended:
            self.tails.pop(segment.episode_id, None)
        else:
            self.tails[segment.episode_id] = (last, int(self.generation[last]))
        return slots, sampleable

    def close(self, episode_id: int) -> Changes:
        """Makes an open episode's last slot its final observation; no change if there is none."""
        last = self._tail(episode_id)
        self.tails.pop(episode_id, None)
        if last == -1:
            return np.empty(0, np.int64), np.empty(0, bool)
        for name in PER_STEP:
            getattr(self, name)[last] = 0
        self.stamps[last // self.block_slots] += 1
        return close(self.links, last, (self.frame_stack, self.lookahead))

    def window_slots(self, slot: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The slots [B, num_steps+1] from [B] on, and whether they are there; see `Replay`."""
        self.check_slots(slot)
        return follow(self.next_slot, slot, num_steps)

    def stack_slots(self, slot: np.ndarray) -> np.ndarray:
        """The slots [M, L] of the frames in each of the stacks [M]; see `Replay.stacks`."""
        self.check_slots(slot)
        cut = (self.kind[slot] == EMPTY) | (self.context[slot] < self.frame_stack - 1)
        if cut.any():
            raise ValueError(
                "slots must hold observations whose earlier frames are still there, got "
                f"{slot[cut][:8].tolist()}"
            )
        return look_back(self.prev_slot, slot, self.frame_stack)

    def gather(self, slots: np.ndarray) -> np.ndarray:
        """The frames [..., *frame] of slots [...], copied once."""
        return np.take(self.frame, slots, axis=0)  # 8 times as fast as [] on small frames

    def check_slots(self, slot: np.ndarray) -> None:
        """Raises ValueError if one of the slots [M] is outside the ring."""
        if len(slot) and not (slot.min() >= 0 and slot.max() < self.capacity):
            raise ValueError(
                f"slot must be in [0, {self.capacity}), got {slot.min()}..{slot.max()}"
            )

    def check_valid(self) -> None:
        """Raises RuntimeError if an invariant of slots and links is broken."""
        used = np.arange(self.capacity) < self.num_used
        if not np.array_equal(self.kind != EMPTY, used):
            raise RuntimeError(f"replay is broken: num_used is {self.num_used}")
        if not 0 <= self.oldest < self.capacity or (
            self.num_used < self.capacity and self.oldest != self.num_used
        ):
            raise RuntimeError(f"replay is broken: slot {self.oldest} is written next")
        check_links(self.links, self.oldest, self.frame_stack)
        alive = [slot for slot, made in self.tails.values() if self.generation[slot] == made]
        if sorted(alive) != open_tails(self.links):
            raise RuntimeError(f"replay is broken: open episodes do not end at {alive}")

    def _tail(self, episode_id: int) -> int:
        """The slot an open episode goes on from, -1 if it is unknown or overwritten."""
        slot, made = self.tails.get(episode_id, (-1, 0))
        return slot if slot != -1 and self.generation[slot] == made else -1

    def _write(self, segment: Segment) -> None:
        # In a segment longer than the ring slots repeat: numpy keeps the last, as the ring does.
        slots = (self.oldest + np.arange(len(segment.frames))) % self.capacity
        self.frame[slots] = segment.frames
        if self.mirror is not None:
            kept = np.unique(slots)
            self.mirror.write(kept, self.frame[kept])
        self.collected_at_update[slots] = segment.collected_at_update
        steps = len(segment.action)
        for name in PER_STEP:
            column = getattr(self, name)
            column[slots[:steps]] = getattr(segment, name)
            column[slots[steps:]] = 0
        self.stamps[slots // self.block_slots] += 1  # a block named twice counts once

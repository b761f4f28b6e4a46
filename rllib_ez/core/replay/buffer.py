"""Replay, drawn by priority. Axes: B samples, M slots, K unroll_steps, L frame_stack, A actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay import priorities
from rllib_ez.core.replay.blocks import SavedBlocks
from rllib_ez.core.replay.border import check_segments
from rllib_ez.core.replay.episodes import read_episode
from rllib_ez.core.replay.files import SaveReport, read_state, write_state
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.replay.links import STEP
from rllib_ez.core.replay.memory import check_fits, estimate_bytes
from rllib_ez.core.replay.mirror import FrameMirror
from rllib_ez.core.replay.ring import Ring
from rllib_ez.core.replay.state import State, check_state, restore, state_of
from rllib_ez.core.replay.sum_tree import SumTree
from rllib_ez.core.replay.validity import sampleable_slots
from rllib_ez.core.types import Array, Episode, SampledWindows, Segment
from rllib_ez.errors import CheckpointError, SettingError


class Replay:
    """A ring of linked positions with priorities.

    A step can be drawn once `unroll_steps + td_steps` more observations of its episode are
    there, or the episode is over, and while its whole frame stack is.
    """

    frame: np.ndarray  # [capacity, *frame], this and all that follow are those of `Ring`
    action: np.ndarray  # [capacity] i32, 0 at a final observation, as the next three
    reward: np.ndarray  # [capacity] f32
    policy: np.ndarray  # [capacity, A] f32
    root_value: np.ndarray  # [capacity] f32
    collected_at_update: np.ndarray  # [capacity] i64
    next_slot: np.ndarray  # [capacity] i64, -1: nothing followed yet, or nothing will
    prev_slot: np.ndarray  # [capacity] i64, -1: nothing before, or it is gone
    generation: np.ndarray  # [capacity] i64, how often the slot was written, 0: never
    kind: np.ndarray  # [capacity] u8, one of links.EMPTY, STEP, FINAL_*
    context: np.ndarray  # [capacity] u8, >= L-1 where the whole frame stack is there

    def __init__(
        self,
        config: ReplayConfig,
        *,
        frame_shape: tuple[int, ...],
        frame_dtype: npt.DTypeLike,
        num_actions: int,
        frame_stack: int,
        unroll_steps: int,
        td_steps: int,
        extra_bytes_per_slot: int = 0,
    ) -> None:
        if unroll_steps < 1 or td_steps < 1:
            raise SettingError(
                f"unroll_steps and td_steps must be >= 1, got {unroll_steps} and {td_steps}"
            )
        self.config = config
        self.layout = SlotLayout(tuple(frame_shape), np.dtype(frame_dtype), num_actions)
        self.memory = estimate_bytes(config, self.layout, extra_bytes_per_slot=extra_bytes_per_slot)
        check_fits(self.memory.total_bytes)  # before anything is allocated
        self.capacity = self.memory.capacity
        self.frame_stack = frame_stack
        self.unroll_steps = unroll_steps
        self.lookahead = unroll_steps + td_steps
        self.device: torch.device | None = None  # where `gather` leaves frames; None: in arrays
        self._clear()

    def _clear(self) -> None:
        self._ring = Ring(
            self.layout, self.capacity, frame_stack=self.frame_stack, lookahead=self.lookahead
        )
        self._tree = SumTree(self.capacity)
        self._saved: SavedBlocks | None = None  # by the last save or load of this ring
        for name in self.layout.fields():
            setattr(self, name, getattr(self._ring, name))

    def mirror_frames(self, device: torch.device) -> None:
        """Gathers frames on a device from now on, from a copy of all of them there."""
        self.device = device
        self._ring.mirror = FrameMirror(self._ring.frame, device)
        self._ring.mirror.write_first(self._ring.frame[: self._ring.num_used])

    @property
    def num_steps_added(self) -> int:
        """Environment steps ever added."""
        return self._ring.num_steps_added

    @property
    def num_positions(self) -> int:
        """Steps held now, final observations not counted."""
        return int(np.count_nonzero(self.kind[: self._ring.num_used] == STEP))

    @property
    def num_sampleable(self) -> int:
        """Steps that can be drawn now."""
        return self._tree.num_positive

    @property
    def total_mass(self) -> float:
        """The sum of priority**alpha over the steps that can be drawn, 0 if there are none."""
        return self._tree.total

    @property
    def open_episodes(self) -> list[int]:
        """Episodes begun and not ended, in the order they began."""
        return list(self._ring.tails)

    @property
    def nbytes(self) -> int:
        """Memory of all arrays when every page of them is in use."""
        return self._ring.nbytes + self._tree.nbytes

    @property
    def mass(self) -> np.ndarray:
        """priority**alpha [capacity] f64, 0 where nothing can be drawn; a read-only view."""
        return self._tree.mass

    def add(self, segments: Sequence[Segment]) -> list[int]:
        """Appends segments, in order, over the oldest positions; all of them or none.

        A segment whose predecessor is gone starts a chain of its own, whose first L-1
        positions cannot be drawn. New positions get the largest priority there is.

        Returns:
            The last slots of the episodes that ended, in order, for `read_episode`. What later
            segments of this call overwrote is missing, at the front: align from the end.

        Raises:
            ValueError: a segment has a wrong shape, dtype, value or place; none was stored.
        """
        check_segments(segments, self.layout, self._ring.tails.keys())
        changes, ended = [], []
        for segment in segments:
            changes.append(self._ring.append(segment))
            ended += [self._ring.newest] if segment.ended else []
        priorities.apply_changes(self._tree, changes)
        return [slot for slot, made in ended if self.generation[slot] == made]

    def close_episodes(self, episode_ids: Iterable[int]) -> None:
        """Ends open episodes as truncated, at the last observation whose step is complete.

        For the episodes of a runner that died: the last step's outcome never arrives, so its
        frame becomes the final observation. Episodes not open are passed over.
        """
        changes = [self._ring.close(episode_id) for episode_id in episode_ids]
        priorities.apply_changes(self._tree, changes)

    def sample(self, num_samples: int, *, rng: np.random.Generator, update: int) -> SampledWindows:
        """Draws start positions by priority, one from each of B equal parts of the total.

        `priorities` has the equations; beta grows linearly with `update`.

        Raises:
            ValueError: nothing can be drawn yet, or `num_samples` or `update` is out of range.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be >= 1, got {num_samples}")
        if self.num_sampleable == 0:
            raise ValueError(
                "num_sampleable must be >= 1 to draw, got 0; first add a whole episode, or "
                f"more than unroll_steps + td_steps = {self.lookahead} steps of one"
            )
        beta = self.is_exponent(update)
        slot, is_weight = priorities.draw(self._tree, num_samples, rng=rng, beta=beta)
        slots, is_real = self._ring.window_slots(slot, self.unroll_steps)
        earlier = self._ring.stack_slots(slot)[:, :-1]
        return SampledWindows(
            slot=slot,
            generation=self.generation[slot],
            is_weight=is_weight,
            slots=slots,
            is_real=is_real,
            frames=self.gather(np.concatenate([earlier, slots], axis=1)),
        )

    def is_exponent(self, update: int) -> float:
        """Beta of the importance weights at a gradient update, >= 0."""
        return priorities.is_exponent(self.config, update)

    def update_priorities(
        self, slot: np.ndarray, generation: np.ndarray, priority: np.ndarray
    ) -> int:
        """Gives drawn positions new priorities; of a slot named twice the last one counts.

        Args:
            slot: [M] i64.
            generation: [M] i64, as drawn. Those overwritten since are passed over, and so are
                those that can no longer be drawn.
            priority: [M] float, >= 0; what is below 1e-6 counts as 1e-6.

        Returns:
            How many of the M were applied.

        Raises:
            ValueError: lengths differ, a slot is outside the ring, or a priority is negative
                or not finite; none was applied.
        """
        slot, priority = np.asarray(slot, np.int64), np.asarray(priority, np.float64)
        priorities.check_priorities(slot, generation, priority)
        self._ring.check_slots(slot)
        alive = (self.generation[slot] == generation) & (self._tree.mass[slot] > 0)
        mass = priorities.masses(priority[alive], self.config.priority_exponent)
        self._tree.set(slot[alive], mass)
        return int(np.count_nonzero(alive))

    def window_slots(self, slot: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The slots of a start position and the steps that follow it.

        Nothing is known past `lookahead` steps of an episode that still runs: there, too, the
        last slot repeats.

        Returns:
            slots [B, num_steps+1] i64, and is_real [B, num_steps+1] bool, False past the
            episode's end, where the last slot repeats.
        """
        return self._ring.window_slots(slot, num_steps)

    def stack_slots(self, slots: np.ndarray) -> np.ndarray:
        """The slots [M, L] of the frames in the stacks of slots [M]; raises as `stacks`."""
        return self._ring.stack_slots(slots)

    def gather(self, slots: np.ndarray) -> Array:
        """The frames [..., *frame] of slots [...], copied once: on `device` if there is one."""
        mirror = self._ring.mirror
        return self._ring.gather(slots) if mirror is None else mirror.gather(slots)

    def stacks(self, slots: np.ndarray) -> np.ndarray:
        """Observation stacks [M, L, *frame] of slots [M]; the first frame repeats at the start.

        Raises:
            ValueError: a slot is outside the ring or empty, or a part of its stack is gone.
        """
        return self._ring.gather(self._ring.stack_slots(slots))

    def read_episode(self, last_slot: int, *, episode_id: int, score: float) -> Episode:
        """The finished episode that ends in a slot; see `episodes.read_episode`."""
        return read_episode(self._ring, last_slot, episode_id=episode_id, score=score)

    def get_state(self) -> State:
        """Everything, as arrays of the used slots and numbers; a copy."""
        state = state_of(self._ring, self._tree)
        return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in state.items()}

    def set_state(self, state: State) -> None:
        """Becomes what gave this state; draws and adds go on as they would have there.

        The public arrays are new objects afterwards.

        Raises:
            CheckpointError: the state is of other shapes or sizes (nothing was changed), or
                breaks an invariant (replay is empty then).
        """
        self._become(state, None)

    def save(self, folder: str | Path) -> SaveReport:
        """Writes the state into a folder, which is complete by itself.

        Blocks of slots that have not changed since the last save or load are not written
        again: the folder shares their files with that one, by hard links. If those are gone,
        or cannot be linked to, everything is written.
        """
        self._saved, report = write_state(
            Path(folder),
            state_of(self._ring, self._tree),
            stamps=self._ring.stamps,
            block_slots=self._ring.block_slots,
            before=self._saved,
        )
        return report

    def saved_as(self, folder: str | Path) -> None:
        """Tells where the folder saved last has been moved, for the next save to find its files."""
        if self._saved is not None:
            self._saved = replace(self._saved, folder=Path(folder))

    def load(self, folder: str | Path) -> None:
        """Becomes what was saved; raises CheckpointError as `set_state`, or if it is torn."""
        self._become(*read_state(Path(folder)))

    def check_valid(self) -> None:
        """Raises RuntimeError if any invariant of ring, links or priorities is broken."""
        self._ring.check_valid()
        allowed = sampleable_slots(self._ring.links, self.frame_stack, self.lookahead)
        wrong = np.flatnonzero(allowed != (self._tree.mass > 0))
        if len(wrong):
            raise RuntimeError(f"replay is broken: priorities of slots {wrong[:8].tolist()}")
        self._tree.check_valid()

    def _become(self, state: State, blocks: SavedBlocks | None) -> None:
        check_state(state, state_of(self._ring, self._tree))
        self._clear()
        try:
            restore(self._ring, self._tree, state, blocks=blocks)
            if self.device is not None:
                self.mirror_frames(self.device)
            self.check_valid()
        except (CheckpointError, LookupError, OverflowError, RuntimeError, ValueError) as error:
            self._clear()
            raise CheckpointError(f"replay's state is damaged: {error}") from error
        self._saved = blocks

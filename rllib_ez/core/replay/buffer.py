"""Replay, drawn by priority. Axes: B samples, M slots, K unroll_steps, L frame_stack, A actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay.border import check_segments
from rllib_ez.core.replay.files import State, check_state, read_state, write_state
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.replay.links import STEP
from rllib_ez.core.replay.memory import check_fits, estimate_bytes
from rllib_ez.core.replay.ring import Changes, Ring
from rllib_ez.core.replay.sum_tree import SumTree
from rllib_ez.core.replay.validity import sampleable_slots
from rllib_ez.core.types import SampledWindows, Segment
from rllib_ez.errors import CheckpointError, SettingError

MIN_PRIORITY = 1e-6  # nothing sampleable is ever out of reach
MASS_RANGE = (1e-30, 1e30)  # of priority**alpha: the sum stays finite and above 0


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
    context: np.ndarray  # [capacity] u8, L-1 where the whole frame stack is there

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
        if not 1 <= frame_stack <= 256:
            raise SettingError(f"frame_stack must be in [1, 256], got {frame_stack}")
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
        self._clear()

    def _clear(self) -> None:
        self._ring = Ring(
            self.layout, self.capacity, frame_stack=self.frame_stack, lookahead=self.lookahead
        )
        self._tree = SumTree(self.capacity)
        for name in self.layout.fields():
            setattr(self, name, getattr(self._ring, name))

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

    def add(self, segments: Sequence[Segment]) -> None:
        """Appends segments, in order, over the oldest positions; all of them or none.

        A segment whose predecessor is gone starts a chain of its own, whose first L-1
        positions cannot be drawn. New positions get the largest priority there is.

        Raises:
            ValueError: a segment has a wrong shape, dtype, value or place; none was stored.
        """
        check_segments(segments, self.layout, self._ring.tails.keys())
        self._apply([self._ring.append(segment) for segment in segments])

    def close_episodes(self, episode_ids: Iterable[int]) -> None:
        """Ends open episodes as truncated, at the last observation whose step is complete.

        For the episodes of a runner that died: the last step's outcome never arrives, so its
        frame becomes the final observation. Episodes not open are passed over.
        """
        self._apply([self._ring.close(episode_id) for episode_id in episode_ids])

    def sample(self, num_samples: int, *, rng: np.random.Generator, update: int) -> SampledWindows:
        """Draws start positions by priority, one from each of B equal parts of the total.

            P(i) = priority(i)**alpha / sum_j priority(j)**alpha
            w(i) = (N * P(i))**-beta / max_b w(b)

        with N positions that can be drawn and beta growing linearly with `update`.

        Raises:
            ValueError: nothing can be drawn yet, or `num_samples` or `update` is out of range.

        Source: prioritized experience replay, arXiv:1511.05952.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be >= 1, got {num_samples}")
        if self.num_sampleable == 0:
            raise ValueError(
                "num_sampleable must be >= 1 to draw, got 0; first add a whole episode, or "
                f"more than unroll_steps + td_steps = {self.lookahead} steps of one"
            )
        beta = self.is_exponent(update)
        # Shuffled, so that a part of the batch is as good a sample as the whole.
        parts = (rng.permutation(num_samples) + rng.random(num_samples)) / num_samples
        slot = self._tree.sample(parts)
        probability = self._tree.mass[slot] / self._tree.total
        log_weight = -beta * np.log(self.num_sampleable * probability)
        slots, is_real = self._ring.window_slots(slot, self.unroll_steps)
        earlier = self._ring.stack_slots(slot)[:, :-1]
        return SampledWindows(
            slot=slot,
            generation=self.generation[slot],
            is_weight=np.exp(log_weight - log_weight.max()).astype(np.float32),
            slots=slots,
            is_real=is_real,
            frames=self._ring.gather(np.concatenate([earlier, slots], axis=1)),
        )

    def is_exponent(self, update: int) -> float:
        """Beta of the importance weights at a gradient update, >= 0."""
        if update < 0:
            raise ValueError(f"update must be >= 0, got {update}")
        config = self.config
        done = min(1.0, update / config.is_exponent_updates)
        return config.is_exponent_initial * (1 - done) + config.is_exponent_final * done

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
        if not slot.shape == np.shape(generation) == priority.shape == (slot.size,):
            raise ValueError(
                "slot, generation and priority must be [M] alike, got "
                f"{slot.shape}, {np.shape(generation)} and {priority.shape}"
            )
        self._ring.check_slots(slot)
        if slot.size and not (priority.min() >= 0 and priority.max() < np.inf):
            raise ValueError(
                f"priority must be finite and >= 0, got {priority.min()}..{priority.max()}"
            )
        alive = (self.generation[slot] == generation) & (self._tree.mass[slot] > 0)
        mass = np.maximum(priority[alive], MIN_PRIORITY) ** self.config.priority_exponent
        self._tree.set(slot[alive], np.clip(mass, *MASS_RANGE))
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

    def stacks(self, slots: np.ndarray) -> np.ndarray:
        """Observation stacks [M, L, *frame] of slots [M]; the first frame repeats at the start.

        Raises:
            ValueError: a slot is outside the ring or empty, or a part of its stack is gone.
        """
        return self._ring.gather(self._ring.stack_slots(slots))

    def get_state(self) -> State:
        """Everything, as arrays of the used slots and numbers; a copy."""
        state = self._state_views()
        return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in state.items()}

    def set_state(self, state: State) -> None:
        """Becomes what gave this state; draws and adds go on as they would have there.

        The public arrays are new objects afterwards.

        Raises:
            CheckpointError: the state is of other shapes or sizes (nothing was changed), or
                breaks an invariant (replay is empty then).
        """
        check_state(state, self._state_views())
        self._clear()
        ring, used = self._ring, int(state["num_used"])
        for name in self.layout.fields():
            getattr(self, name)[:used] = state[name]
        ring.oldest, ring.num_used = int(state["oldest"]), used
        ring.num_steps_added = int(state["num_steps_added"])
        rows = np.asarray(state["open_episodes"]).tolist()
        ring.tails = {episode: (slot, generation) for episode, slot, generation in rows}
        try:
            self._tree.restore(np.asarray(state["mass"]))
            self.check_valid()
        except (IndexError, RuntimeError, ValueError) as error:
            self._clear()
            raise CheckpointError(f"replay's state is damaged: {error}") from error

    def save(self, folder: str | Path) -> None:
        """Writes the state into a folder of .npy files."""
        write_state(Path(folder), self._state_views())

    def load(self, folder: str | Path) -> None:
        """Becomes what was saved; raises CheckpointError as `set_state`, or if it is torn."""
        self.set_state(read_state(Path(folder)))

    def check_valid(self) -> None:
        """Raises RuntimeError if any invariant of ring, links or priorities is broken."""
        self._ring.check_valid()
        allowed = sampleable_slots(self._ring.links, self.frame_stack, self.lookahead)
        wrong = np.flatnonzero(allowed != (self._tree.mass > 0))
        if len(wrong):
            raise RuntimeError(f"replay is broken: priorities of slots {wrong[:8].tolist()}")
        self._tree.check_valid()

    def _apply(self, changes: list[Changes]) -> None:
        if not changes:
            return
        newest = self._tree.max_mass or 1.0
        slots = np.concatenate([slots for slots, _ in changes])
        sampleable = np.concatenate([flags for _, flags in changes])
        self._tree.set(slots, np.where(sampleable, newest, 0.0))

    def _state_views(self) -> State:
        ring = self._ring
        rows = [(episode, *tail) for episode, tail in ring.tails.items()]
        return {
            **{name: getattr(self, name)[: ring.num_used] for name in self.layout.fields()},
            "mass": self._tree.mass[: ring.num_used],
            "open_episodes": np.array(rows, np.int64).reshape(-1, 3),
            "capacity": self.capacity,
            "frame_stack": self.frame_stack,
            "lookahead": self.lookahead,
            "num_used": ring.num_used,
            "oldest": ring.oldest,
            "num_steps_added": ring.num_steps_added,
        }

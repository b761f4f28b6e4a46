"""What one process keeps of the past: replay, remembered targets, and the batches made of both.

A batch is made in two steps, `draw` and `finish`; between them somebody searches what `draw`
asked for. Everything that comes in or goes out is arrays and numbers, so that a shard can live
in the driver or in an actor.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rllib_ez.core.clock import StageClock
from rllib_ez.core.random import EPISODES_PER_RUNNER, Stream, generator
from rllib_ez.core.replay import Replay
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.core.targets import Draft, TargetBuilder
from rllib_ez.core.types import Episode, FreshTargets, PositionBatch, Segment, TrainBatch
from rllib_ez.errors import ArchiveError, CheckpointError

LEAST_ROOTS = 32  # searched together: fewer are not worth a message of their own
MOST_UNWRITTEN = 64  # finished episodes that wait for an archive which cannot be written


@dataclass(frozen=True, slots=True)
class DrawOrder:
    """What the next batches are to be."""

    number: int  # of the draw, unique in the run: seeds it
    num_batches: int
    batch_size: int  # samples in each
    num_parts: int  # each batch is cut into so many equal parts, one per learner
    update: int  # gradient updates before the first of these batches
    version: int  # of the target network


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """How a shard stands."""

    num_env_steps: int  # added, without those that replay was warmed with
    num_episodes: int  # finished, and in the archive if there is one
    num_positions: int
    num_sampleable: int
    total_mass: float  # sum of priority**alpha
    nbytes: int
    num_asked: int  # targets asked for
    num_computed: int  # of these, searched; the others were remembered
    seconds: dict[str, float]  # by stage, since the last status
    notes: tuple[str, ...] = ()  # what a person should know


class ReplayShard:
    """Replay and everything that belongs to its slots."""

    def __init__(
        self,
        replay: Replay,
        cache: TargetCache,
        builder: TargetBuilder,
        *,
        seed: int,
        reanalyse_batch_size: int,
        num_reanalysers: int = 1,
        write_episodes: Callable[[Sequence[Episode]], None] | None = None,
    ) -> None:
        self.replay = replay
        self.cache = cache
        self.builder = builder
        self.seed = seed
        self.reanalyse_batch_size = reanalyse_batch_size
        self.num_reanalysers = num_reanalysers
        self.write_episodes = write_episodes
        self.num_warm_steps = 0
        self.num_episodes = 0
        self._scores: dict[int, float] = {}  # of the open episodes, so far
        self._unwritten: list[Episode] = []
        self._open: dict[int, tuple[DrawOrder, Draft, list[np.ndarray]]] = {}
        self._clock = StageClock()
        self._notes: list[str] = []

    def add(self, segments: Sequence[Segment], *, warm: bool = False) -> ShardStatus:
        """Remembers what was lived through; finished episodes are in the archive on return.

        Args:
            segments: see `Replay.add`.
            warm: they come from an archive: not counted, not archived again.

        Raises:
            ValueError: a segment is wrong; none was stored.
            ArchiveError: the archive has not taken an episode for long.
        """
        with self._clock.stage("replay"):
            ends = self.replay.add(segments)
        if warm:
            self.num_warm_steps += sum(len(segment.action) for segment in segments)
            return self.status()
        ended = {}
        for segment in segments:
            score = self._scores.pop(segment.episode_id, 0.0) + segment.score
            if segment.ended:
                ended[segment.episode_id] = score
            else:
                self._scores[segment.episode_id] = score
        self._archive(ended, ends)
        return self.status()

    def close_episodes(self, episode_ids: Iterable[int]) -> ShardStatus:
        """Ends open episodes whose rest will never come; see `Replay.close_episodes`."""
        episode_ids = list(episode_ids)
        self.replay.close_episodes(episode_ids)
        for episode_id in episode_ids:
            self._scores.pop(episode_id, None)
        return self.status()

    def close_runner(self, runner: int) -> ShardStatus:
        """The same for all episodes of an env runner that was lost."""
        episodes = self.replay.open_episodes
        return self.close_episodes(e for e in episodes if e // EPISODES_PER_RUNNER == runner)

    def draw(self, order: DrawOrder) -> list[PositionBatch]:
        """Draws the samples of some batches.

        Returns:
            What must be searched with the target network of `order.version` before `finish`:
            positions that are neither remembered nor asked for by an earlier, unfinished draw.
        """
        with self._clock.stage("replay"):
            rng = generator(self.seed, Stream.REPLAY, order.number)
            count = order.num_batches * order.batch_size
            sample = self.replay.sample(count, rng=rng, update=order.update)
            draft = self.builder.draft(sample, update=order.update, version=order.version, rng=rng)
            wanted, missing = draft.wanted, ~draft.wanted.known
            for _, earlier, _ in self._open.values():
                missing &= ~wanted.shared(earlier.wanted)[1]
                wanted.fill(earlier.wanted)
            chunks = self._chunks(np.flatnonzero(missing))
            self._open[order.number] = (order, draft, chunks)
            return [self.cache.positions(wanted, rows) for rows in chunks]

    def finish(self, number: int, *targets: FreshTargets) -> list[TrainBatch]:
        """The batches of a draw, cut into parts: batch 0 part 0, batch 0 part 1, ...

        Args:
            number: of the draw. Draws must be finished in the order in which they were drawn.
            targets: one for each `PositionBatch` that `draw` returned.
        """
        order, draft, chunks = self._open.pop(number)
        with self._clock.stage("replay"):
            for rows, fresh in zip(chunks, targets, strict=True):
                draft.wanted.answer(rows, fresh)
                self.cache.remember(draft.wanted, rows)
            for _, later, _ in self._open.values():
                later.wanted.fill(draft.wanted)
            batch = self.builder.finish(draft)
            size = order.batch_size // order.num_parts
            count = order.num_batches * order.num_parts
            return [batch.rows(i * size, (i + 1) * size) for i in range(count)]

    def forget_draws(self) -> None:
        """Drops all draws that were not finished."""
        self._open.clear()

    def update_priorities(
        self, slot: np.ndarray, generation: np.ndarray, priority: np.ndarray
    ) -> ShardStatus:
        """See `Replay.update_priorities`."""
        with self._clock.stage("replay"):
            self.replay.update_priorities(slot, generation, priority)
        return self.status()

    def status(self) -> ShardStatus:
        """How the shard stands; seconds and notes are handed out once."""
        replay = self.replay
        status = ShardStatus(
            num_env_steps=replay.num_steps_added - self.num_warm_steps,
            num_episodes=self.num_episodes,
            num_positions=replay.num_positions,
            num_sampleable=replay.num_sampleable,
            total_mass=replay.total_mass,
            nbytes=replay.nbytes,
            num_asked=self.cache.num_asked,
            num_computed=self.cache.num_computed,
            seconds=dict(self._clock.seconds),
            notes=tuple(self._notes),
        )
        self._clock.seconds.clear()
        self._notes.clear()
        return status

    def save(self, folder: str | Path) -> None:
        """Writes everything but unfinished draws, and episodes that wait for their archive."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.replay.save(folder / "replay")
        np.savez(folder / "target_cache.npz", allow_pickle=False, **self.cache.get_state())
        numbers = {
            "num_warm_steps": self.num_warm_steps,
            "num_episodes": self.num_episodes,
            "scores": {str(episode): score for episode, score in self._scores.items()},
        }
        (folder / "shard.json").write_text(json.dumps(numbers))

    def load(self, folder: str | Path) -> ShardStatus:
        """Becomes what was saved.

        Raises:
            CheckpointError: a file is missing, foreign or cut short.
        """
        folder = Path(folder)
        try:
            numbers = json.loads((folder / "shard.json").read_text())
            with np.load(folder / "target_cache.npz", allow_pickle=False) as arrays:
                cache = dict(arrays)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"checkpoint must be complete, got {type(error).__name__}: {error} in {folder}; "
                "use an earlier checkpoint"
            ) from error
        self.replay.load(folder / "replay")
        self.cache.set_state(cache)
        self.num_warm_steps = numbers["num_warm_steps"]
        self.num_episodes = numbers["num_episodes"]
        self._scores = {int(episode): score for episode, score in numbers["scores"].items()}
        self._unwritten.clear()
        self.forget_draws()
        return self.status()

    def saved_as(self, folder: str | Path) -> None:
        """Tells where the folder of the last `save` lies now; see `Replay.saved_as`."""
        self.replay.saved_as(Path(folder) / "replay")

    def _chunks(self, rows: np.ndarray) -> list[np.ndarray]:
        each = -(-len(rows) // self.num_reanalysers)
        size = min(self.reanalyse_batch_size, max(each, LEAST_ROOTS))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _archive(self, ended: dict[int, float], last_slots: list[int]) -> None:
        """Writes finished episodes; those that fail are kept and tried again."""
        if self.write_episodes is None:
            self.num_episodes += len(ended)
            return
        num_gone = len(ended) - len(last_slots)  # longer than all of replay: overwritten already
        if num_gone:
            self._notes.append(f"{num_gone} episodes did not fit into replay and are not archived")
        kept = list(ended.items())[num_gone:]
        self._unwritten += [
            self.replay.read_episode(last, episode_id=episode, score=score)
            for last, (episode, score) in zip(last_slots, kept, strict=True)
        ]
        if not self._unwritten:
            return
        try:
            with self._clock.stage("archive"):
                self.write_episodes(self._unwritten)
        except ArchiveError as error:
            if len(self._unwritten) > MOST_UNWRITTEN:
                raise
            self._notes.append(f"{error} ({len(self._unwritten)} episodes wait)")
            return
        self.num_episodes += len(self._unwritten)
        self._unwritten.clear()

"""Episodes whose frames tell where they stand, a shard of them, and stand-ins for a reanalyser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from rllib_ez.core.config import ReplayConfig, TargetsConfig
from rllib_ez.core.replay import Replay
from rllib_ez.core.replay_shard import DrawOrder, ReplayShard
from rllib_ez.core.target_cache import TargetCache, Wanted
from rllib_ez.core.targets import TargetBuilder
from rllib_ez.core.types import FreshTargets, PositionBatch, Segment, TrainBatch

NUM_ACTIONS = 3


@dataclass(frozen=True)
class Episode:
    """An episode as a person would note it down; its frame t is the number 1000 * id + t."""

    id: int
    action: np.ndarray  # [T] i32
    reward: np.ndarray  # [T] f32
    policy: np.ndarray  # [T, A] f32
    root_value: np.ndarray  # [T] f32
    end: str  # "terminated", "truncated" or "": still running
    collected_at_update: int = 0

    def segments(self, borders: list[int]) -> list[Segment]:
        """The episode cut before the steps in `borders`."""
        edges = [0, *borders, len(self.action)]
        pairs = list(zip(edges[:-1], edges[1:], strict=True))
        return [self._segment(start, stop) for start, stop in pairs]

    def _segment(self, start: int, stop: int) -> Segment:
        last = stop == len(self.action)
        numbers = 1000 * self.id + np.arange(start, stop + (last and bool(self.end)))
        return Segment(
            episode_id=self.id,
            is_first=start == 0,
            frames=numbers[:, None].astype(np.float32),
            action=self.action[start:stop],
            reward=self.reward[start:stop],
            policy=self.policy[start:stop],
            root_value=self.root_value[start:stop],
            terminated=last and self.end == "terminated",
            truncated=last and self.end == "truncated",
            collected_at_update=self.collected_at_update,
            score=sum(step_score(self.id, t) for t in range(start, stop)),
        )


def step_score(id: int, t: int) -> float:
    """The unclipped reward of a step; sums of it are exact."""
    return 1.5 * t - id


def random_episode(
    rng: np.random.Generator, id: int, *, steps: int, end: str, collected_at_update: int = 0
) -> Episode:
    return Episode(
        id,
        rng.integers(NUM_ACTIONS, size=steps).astype(np.int32),
        rng.standard_normal(steps).astype(np.float32),
        rng.dirichlet(np.ones(NUM_ACTIONS), steps).astype(np.float32),
        rng.standard_normal(steps).astype(np.float32),
        end,
        collected_at_update,
    )


def make_replay(
    *, capacity: int = 64, unroll_steps: int = 2, td_steps: int = 3, frame_stack: int = 1
) -> Replay:
    return Replay(
        ReplayConfig(replay_capacity=capacity),
        frame_shape=(1,),
        frame_dtype=np.float32,
        num_actions=NUM_ACTIONS,
        frame_stack=frame_stack,
        unroll_steps=unroll_steps,
        td_steps=td_steps,
    )


def make_shard(*, capacity: int = 64, frame_stack: int = 1, **settings) -> ReplayShard:
    """An empty one; unroll 2, td 3, discount 0.5; further keywords as those of `ReplayShard`."""
    replay = make_replay(capacity=capacity, frame_stack=frame_stack)
    cache = TargetCache(replay, num_actions=NUM_ACTIONS)
    config = TargetsConfig(unroll_steps=2, td_steps=3, discount=0.5, horizon_decay_updates=10)
    settings = {"seed": 0, "reanalyse_batch_size": 1000, **settings}
    return ReplayShard(replay, cache, TargetBuilder(config, replay, cache), **settings)


class RandomLife:
    """Steps of some episodes at a time, in segments of random lengths, for ever."""

    def __init__(self, seed: int, *, num_open: int = 3, longest: int = 14) -> None:
        self.rng = np.random.default_rng(seed)
        self.longest = longest
        self.num_begun = 0
        self.num_steps = 0
        self.begun: dict[int, Episode] = {}
        self.left = [self._begin() for _ in range(num_open)]

    def segments(self, count: int, *, update: int = 0) -> list[Segment]:
        """The next `count` segments."""
        made = []
        for _ in range(count):
            place = int(self.rng.integers(len(self.left)))
            made.append(replace(self.left[place].pop(0), collected_at_update=update))
            self.num_steps += len(made[-1].action)
            self.left[place] = self.left[place] or self._begin()
        return made

    def _begin(self) -> list[Segment]:
        rng, id = self.rng, self.num_begun
        self.num_begun += 1
        end = "terminated" if rng.random() < 0.5 else "truncated"
        steps = int(rng.integers(2, self.longest))
        self.begun[id] = random_episode(rng, id, steps=steps, end=end)
        cuts = rng.integers(1, steps, size=rng.integers(3))
        return self.begun[id].segments(sorted(set(cuts.tolist())))


def order_of(number: int, **changes) -> DrawOrder:
    """One batch of 8, with the first target network."""
    order = DrawOrder(
        number=number, num_batches=1, batch_size=8, num_parts=1, update=number, version=0
    )
    return replace(order, **changes)


def fresh_policy(number: int) -> list[float]:
    """What `FrameReader` says of the frame with this number."""
    return np.eye(NUM_ACTIONS)[number % NUM_ACTIONS].tolist()


def fresh_value(number: int, bootstrap: str) -> float:
    """The same of its value: search and network differ in sign."""
    return (1 if bootstrap == "search" else -1) * (number % 1000 + 0.5)


class Searcher(Protocol):
    """What a `Reanalyser` does."""

    version: int

    def compute(self, batch: PositionBatch) -> FreshTargets: ...


class FrameReader:
    """Stands in for a `Reanalyser`: its targets follow from the frame and its version."""

    def __init__(self) -> None:
        self.version = 0
        self.seen: list[list[int]] = []  # frames of each call
        self.positions: list[int] = []

    def compute(self, batch: PositionBatch) -> FreshTargets:
        numbers = batch.observations()[:, -1, 0].astype(int).tolist()
        self.seen.append(numbers)
        self.positions += batch.position.tolist()
        value = [
            np.array([fresh_value(n, kind) for n in numbers]) for kind in ("search", "network")
        ]
        return FreshTargets(
            policy=np.array([fresh_policy(n) for n in numbers], np.float32),
            root_value=(value[0] + self.version).astype(np.float32),
            network_value=(value[1] + self.version).astype(np.float32),
        )


class Oracle:
    """Stands in for a `Reanalyser`: frames, position and version each move all it says."""

    def __init__(self) -> None:
        self.version = 0

    def compute(self, batch: PositionBatch) -> FreshTargets:
        rows = zip(batch.observations()[:, :, 0].astype(int), batch.position, strict=True)
        drawn = [
            np.random.default_rng([*frames, at, self.version]).random(5) for frames, at in rows
        ]
        said = np.array(drawn, np.float32).reshape(-1, 5)
        return FreshTargets(said[:, :3] / said[:, :3].sum(1, keepdims=True), said[:, 3], said[:, 4])


def search(order: DrawOrder, asked: Iterable[PositionBatch], by: Searcher) -> list[FreshTargets]:
    """What a draw asked for, with the network it asked for."""
    by.version = order.version
    return [by.compute(batch) for batch in asked]


def search_missing(cache: TargetCache, wanted: Wanted, by: Searcher) -> Wanted:
    """Completes `wanted`, one search for all, and remembers it."""
    rows = np.flatnonzero(~wanted.known)
    if len(rows):
        by.version = wanted.version
        wanted.answer(rows, by.compute(cache.positions(wanted, rows)))
        cache.remember(wanted, rows)
    return wanted


def assert_same_batches(one: Iterable[TrainBatch], other: Iterable[TrainBatch]) -> None:
    """Every field of every batch, to the bit."""
    for ours, theirs in zip(one, other, strict=True):
        for field in fields(TrainBatch):
            left, right = getattr(ours, field.name), getattr(theirs, field.name)
            np.testing.assert_array_equal(left, right, err_msg=field.name, strict=True)

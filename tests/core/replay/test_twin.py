"""Replay beside a slow twin: lists of episodes, driven by random operations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from rllib_ez.core.replay.links import FINAL_TERMINATED, FINAL_TRUNCATED, STEP

ALPHA = 0.7


@dataclass(eq=False)
class Position:
    frame: float
    arrival: int
    kind: int = STEP
    step: tuple = (0, 0.0, (0.0, 0.0, 0.0), 0.0)  # action, reward, policy, root_value
    mass: float = 0.0


@dataclass(eq=False)
class Episode:
    whole: bool  # it was seen from its first observation on
    positions: list[Position] = field(default_factory=list)


class Twin:
    """The rules of replay, each said in the plainest way."""

    def __init__(self, capacity: int, frame_stack: int, lookahead: int) -> None:
        self.capacity, self.frame_stack, self.lookahead = capacity, frame_stack, lookahead
        self.episodes: list[Episode] = []
        self.open: dict[int, Episode] = {}
        self.num_added = 0

    def alive(self, position: Position) -> bool:
        return position.arrival >= self.num_added - self.capacity

    def stack(self, episode: Episode, index: int) -> list[float] | None:
        """Its L frames, None where one of them is gone."""
        frames = []
        for i in range(index - self.frame_stack + 1, index + 1):
            if i < 0 and not episode.whole:
                return None
            if not self.alive(episode.positions[max(i, 0)]):
                return None
            frames.append(episode.positions[max(i, 0)].frame)
        return frames

    def sampleable(self, episode: Episode, index: int) -> bool:
        positions = episode.positions
        known = len(positions) - 1 - index >= self.lookahead or positions[-1].kind != STEP
        is_step = self.alive(positions[index]) and positions[index].kind == STEP
        return is_step and known and self.stack(episode, index) is not None

    def live(self) -> list[tuple[Episode, int]]:
        return [(e, i) for e in self.episodes for i, p in enumerate(e.positions) if self.alive(p)]

    def refresh(self) -> None:
        """Gives what became sampleable the largest mass, and takes it from what ceased to be."""
        everything = [
            (p, self.sampleable(e, i)) for e in self.episodes for i, p in enumerate(e.positions)
        ]
        newest = max((p.mass for p, _ in everything), default=0.0) or 1.0
        for position, ok in everything:
            position.mass = (position.mass or newest) if ok else 0.0

    def add(self, segments) -> None:
        for s in segments:
            episode = self.open.get(s.episode_id)
            if episode is None or not self.alive(episode.positions[-1]):
                episode = Episode(whole=s.is_first)
                self.episodes.append(episode)
            self.open[s.episode_id] = episode
            for t, frame in enumerate(s.frames[:, 0].tolist()):
                position = Position(frame, self.num_added)
                self.num_added += 1
                if t < len(s.action):
                    probs = tuple(s.policy[t].tolist())
                    position.step = (s.action[t], s.reward[t], probs, s.root_value[t])
                else:
                    position.kind = FINAL_TERMINATED if s.terminated else FINAL_TRUNCATED
                episode.positions.append(position)
            if s.ended:
                del self.open[s.episode_id]
        self.refresh()

    def close(self, episode_id: int) -> None:
        last = self.open.pop(episode_id).positions[-1]
        if self.alive(last):
            last.kind, last.step = FINAL_TRUNCATED, Position(0, 0).step
        self.refresh()

    def window(self, episode: Episode, index: int, num_steps: int) -> tuple[list, list]:
        last = len(episode.positions) - 1
        slots = [self.slot(episode.positions[min(index + k, last)]) for k in range(num_steps + 1)]
        return slots, [index + k <= last for k in range(num_steps + 1)]

    def slot(self, position: Position) -> int:
        return position.arrival % self.capacity


def assert_same(replay, twin: Twin) -> None:
    """Compares everything that can be seen."""
    replay.check_valid()
    live = twin.live()
    assert replay.num_positions == sum(e.positions[i].kind == STEP for e, i in live)
    assert replay.num_sampleable == sum(e.positions[i].mass > 0 for e, i in live)
    assert replay.open_episodes == list(twin.open)
    for episode, i in live:
        position, slot = episode.positions[i], twin.slot(episode.positions[i])
        assert (replay.kind[slot], replay.frame[slot, 0]) == (position.kind, position.frame)
        stored = (replay.action[slot], replay.reward[slot])
        stored += (tuple(replay.policy[slot].tolist()), replay.root_value[slot])
        assert stored == position.step
        assert replay.generation[slot] == position.arrival // twin.capacity + 1
        assert replay.mass[slot] == pytest.approx(position.mass, rel=1e-12)
        slots, is_real = replay.window_slots(np.array([slot]), 4)
        assert (slots[0].tolist(), is_real[0].tolist()) == twin.window(episode, i, 4)
        stack = twin.stack(episode, i)
        if stack is None:
            with pytest.raises(ValueError, match="earlier frames"):
                replay.stacks(np.array([slot]))
        else:
            assert replay.stacks(np.array([slot]))[0, :, 0].tolist() == stack


def assert_episodes_same(replay, twin: Twin) -> None:
    """Reads back every episode whose end is there."""
    for episode in twin.episodes:
        positions = [p for p in episode.positions if twin.alive(p)]
        if not positions or positions[-1].kind == STEP:
            continue
        read = replay.read_episode(twin.slot(positions[-1]), episode_id=9, score=2.5)
        assert read.frames[:, 0].tolist() == [p.frame for p in positions]
        steps = list(zip(read.action, read.reward, read.policy, read.root_value, strict=True))
        steps = [(a, r, tuple(p.tolist()), v) for a, r, p, v in steps]
        assert steps == [p.step for p in positions[:-1]]
        assert read.is_first == (episode.whole and len(positions) == len(episode.positions))
        assert read.terminated == (positions[-1].kind == FINAL_TERMINATED)
        assert (read.episode_id, read.score) == (9, 2.5)


def assert_sample_same(replay, sample, twin: Twin) -> None:
    """Compares a draw with the twin's windows."""
    places = {twin.slot(e.positions[i]): (e, i) for e, i in twin.live()}
    for b, slot in enumerate(sample.slot.tolist()):
        episode, i = places[slot]
        assert episode.positions[i].mass > 0
        slots, is_real = twin.window(episode, i, replay.unroll_steps)
        assert (sample.slots[b].tolist(), sample.is_real[b].tolist()) == (slots, is_real)
        last = len(episode.positions) - 1
        for k in range(replay.unroll_steps + 1):
            observation = sample.frames[b, k : k + replay.frame_stack, 0].tolist()
            if i + k <= last:
                assert observation == twin.stack(episode, i + k)


class Driver:
    """Does the same random things to both."""

    def __init__(self, replay, twin: Twin, make_segment, rng) -> None:
        self.replay, self.twin, self.make_segment, self.rng = replay, twin, make_segment, rng
        self.clock: dict[int, int] = {}  # running episode: steps so far
        self.stale: list = []  # samples whose priorities come late
        self.num_begun = 0

    def add(self) -> None:
        segments = [self.segment() for _ in range(self.rng.integers(1, 4))]
        ended = self.replay.add(segments)
        before = self.twin.num_added
        self.twin.add(segments)
        finals = [p for e, i in self.twin.live() if (p := e.positions[i]).kind != STEP]
        finals = sorted(p.arrival for p in finals if p.arrival >= before)
        assert ended == [arrival % self.twin.capacity for arrival in finals]

    def segment(self):
        running = list(self.clock)
        if len(running) < 3 or self.rng.random() < 0.1:
            self.num_begun += 1
            # Now and then an episode whose beginning never arrived.
            running = [self.num_begun]
            self.clock[self.num_begun] = 0 if self.rng.random() < 0.8 else 5
        episode = int(self.rng.choice(running))
        start = self.clock[episode]
        end = str(self.rng.choice(["", "", "", "terminated", "truncated"]))
        stop = start + int(self.rng.integers(0 if end else 1, 7))
        self.clock[episode] = stop
        if end:
            del self.clock[episode]
        return self.make_segment(episode, start, stop, end=end)

    def close(self) -> None:
        if self.twin.open:
            episode = int(self.rng.choice(list(self.twin.open)))
            self.replay.close_episodes([episode])
            self.twin.close(episode)
            if self.rng.random() < 0.5:  # else its next segment arrives all the same, late
                del self.clock[episode]

    def sample(self) -> None:
        if self.replay.num_sampleable:
            sample = self.replay.sample(5, rng=self.rng, update=3)
            assert_sample_same(self.replay, sample, self.twin)
            arrivals = (sample.generation - 1) * self.twin.capacity + sample.slot
            self.stale.append((sample, arrivals.tolist()))

    def update(self) -> None:
        if not self.stale:
            return
        sample, arrivals = self.stale.pop(int(self.rng.integers(len(self.stale))))
        priority = self.rng.random(5) * 4
        known = {p.arrival: p for e in self.twin.episodes for p in e.positions if p.mass > 0}
        for arrival, value in zip(arrivals, priority.tolist(), strict=True):
            if arrival in known:
                known[arrival].mass = value**ALPHA
        applied = self.replay.update_priorities(sample.slot, sample.generation, priority)
        assert applied == sum(arrival in known for arrival in arrivals)


@pytest.mark.parametrize(
    ("capacity", "frame_stack", "lookahead"),
    [(1, 1, 2), (1, 2, 2), (2, 3, 2), (5, 2, 3), (16, 1, 4), (23, 4, 3), (40, 3, 7), (200, 4, 5)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_operations_agree_with_the_slow_twin(
    make_replay, make_segment, capacity, frame_stack, lookahead, seed
):
    replay = make_replay(
        capacity,
        frame_stack=frame_stack,
        unroll_steps=1 if lookahead == 2 else 2,
        td_steps=lookahead - (1 if lookahead == 2 else 2),
        priority_exponent=ALPHA,
    )
    rng = np.random.default_rng([seed, capacity])
    twin = Twin(capacity, frame_stack, lookahead)
    driver = Driver(replay, twin, make_segment, rng)
    for _ in range(60):
        names = ["add", "sample", "update", "close"]
        getattr(driver, str(rng.choice(names, p=[0.45, 0.25, 0.22, 0.08])))()
        assert_same(replay, twin)
        assert_episodes_same(replay, twin)

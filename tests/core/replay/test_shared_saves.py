"""Random operations and saves that share blocks: each save must stay what replay was then."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from rllib_ez.core.replay import layout


class Driver:
    """Does random things to a replay and remembers what each of its saves must hold."""

    def __init__(self, make_replay, make_segment, rng, tmp_path) -> None:
        self.make_replay, self.make_segment, self.rng = make_replay, make_segment, rng
        self.root = tmp_path
        self.replay = make_replay()
        self.clock: dict[int, int] = {}  # open episode: steps so far
        self.num_begun = 0
        self.saves: dict[str, dict] = {}  # folder: state
        self.num_moved = 0
        self.bytes_linked = 0

    def add(self) -> None:
        self.replay.add([self.segment() for _ in range(self.rng.integers(1, 4))])

    def segment(self):
        if len(self.clock) < 2:
            self.num_begun += 1
            self.clock[self.num_begun] = 0
        episode = int(self.rng.choice(list(self.clock)))
        start = self.clock[episode]
        end = str(self.rng.choice(["", "", "terminated", "truncated"]))
        # Now and then longer than the ring.
        most = 50 if self.rng.random() < 0.05 else 6
        self.clock[episode] = stop = start + int(self.rng.integers(0 if end else 1, most))
        if end:
            del self.clock[episode]
        update = int(self.rng.integers(1000))
        return self.make_segment(episode, start, stop, end=end, collected_at_update=update)

    def close(self) -> None:
        if self.clock:
            episode = int(self.rng.choice(list(self.clock)))
            self.replay.close_episodes([episode])
            del self.clock[episode]

    def update(self) -> None:
        if self.replay.num_sampleable:
            sample = self.replay.sample(4, rng=self.rng, update=1)
            self.replay.update_priorities(sample.slot, sample.generation, self.rng.random(4))

    def save(self) -> None:
        folder = str(self.rng.choice(["a", "b", "c", "d"]))
        self.bytes_linked += self.replay.save(self.root / folder).bytes_linked
        self.saves[folder] = self.replay.get_state()

    def move(self) -> None:
        """Saves to a place from which the folder is moved, told or not."""
        self.num_moved += 1
        folder = f"moved{self.num_moved}"
        self.bytes_linked += self.replay.save(self.root / "draft").bytes_linked
        (self.root / "draft").rename(self.root / folder)
        if self.rng.random() < 0.7:
            self.replay.saved_as(self.root / folder)
        self.saves[folder] = self.replay.get_state()

    def delete(self) -> None:
        if self.saves:
            folder = str(self.rng.choice(list(self.saves)))
            shutil.rmtree(self.root / folder)
            del self.saves[folder]

    def load(self) -> None:
        """Goes on from one of the saves, in the same replay or in a new one."""
        if not self.saves:
            return
        folder = str(self.rng.choice(list(self.saves)))
        if self.rng.random() < 0.5:
            self.replay = self.make_replay()
        if self.rng.random() < 0.8:
            self.replay.load(self.root / folder)
        else:
            self.replay.set_state(self.saves[folder])
        open_episodes = self.replay.open_episodes
        self.clock = {episode: self.clock.get(episode, 9) for episode in open_episodes}

    def check(self) -> None:
        """Loads every save there is."""
        for folder, state in self.saves.items():
            twin = self.make_replay()
            twin.load(self.root / folder)
            np.testing.assert_equal(twin.get_state(), state)


@pytest.mark.parametrize("seed", range(4))
def test_every_save_holds_what_replay_was(make_replay, make_segment, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(layout, "MIN_BLOCK_SLOTS", 3)
    monkeypatch.setattr(layout, "BLOCK_BYTES", 1)
    rng = np.random.default_rng(seed)
    driver = Driver(lambda: make_replay(31, frame_stack=2), make_segment, rng, tmp_path)
    names = ["add", "close", "update", "save", "move", "delete", "load"]
    for count in range(1, 81):
        getattr(driver, str(rng.choice(names, p=[0.2, 0.15, 0.1, 0.25, 0.15, 0.05, 0.1])))()
        if count % 5 == 0:
            driver.check()
    assert driver.bytes_linked > 0

"""The memory of targets beside a dictionary, driven by random requests, answers and overwriting."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from rllib_ez.core.target_cache import TargetCache, Wanted
from rllib_ez.core.types import FreshTargets

NUM_ACTIONS = 3


class Slots:
    """Stands in for a replay: slots that are overwritten."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.generation = np.ones(capacity, np.int64)


def truth(slot: int, generation: int, version: int) -> float:
    """The one right value of a target."""
    return slot + generation / 64 + version / 4096


@dataclass
class Asked:
    """A request, and what a twin knows of it: slot to generation, and to the value if known."""

    wanted: Wanted
    generation: dict[int, int]
    value: dict[int, float] = field(default_factory=dict)


class Twin:
    """Drives a cache by random requests and answers; beside it a dictionary with the same rules."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.slots = Slots(12)
        self.cache = TargetCache(self.slots, num_actions=NUM_ACTIONS)
        self.known: dict[tuple[int, int, int], float] = {}  # by slot, generation, version
        self.open: list[Asked] = []
        self.version = 0
        self.num_computed = 0

    def overwrite(self) -> None:
        self.slots.generation[self.rng.integers(12, size=2)] += 1

    def move_on(self) -> None:
        self.version += 1

    def ask(self) -> None:
        """Now and then with an older network; takes over what open requests know."""
        version = max(0, self.version - int(self.rng.random() < 0.2))
        slots = self.rng.integers(12, size=self.rng.integers(9))
        wanted = self.cache.ask(slots, version=version)
        made = Asked(wanted, {s: int(self.slots.generation[s]) for s in set(slots.tolist())})
        for slot, generation in made.generation.items():
            if (slot, generation, version) in self.known:
                made.value[slot] = self.known[slot, generation, version]
        for earlier in self.open:
            wanted.fill(earlier.wanted)
            self.take_over(made, earlier)
        self.open.append(made)

    def take_over(self, one: Asked, other: Asked) -> None:
        if one.wanted.version == other.wanted.version:
            for slot, value in other.value.items():
                if one.generation.get(slot) == other.generation[slot]:
                    one.value.setdefault(slot, value)

    def answer(self) -> None:
        """All that one open request misses, in any order of requests."""
        if not self.open:
            return
        asked = self.open.pop(int(self.rng.integers(len(self.open))))
        wanted = asked.wanted
        rows = np.flatnonzero(~wanted.known)
        where = zip(wanted.slots[rows].tolist(), wanted.generation[rows].tolist(), strict=True)
        value = np.array([truth(*at, wanted.version) for at in where], np.float32)
        policy = np.repeat(value[:, None], NUM_ACTIONS, axis=1)
        wanted.answer(rows, FreshTargets(policy, value, -value))
        self.cache.remember(wanted, rows)
        self.num_computed += len(rows)
        for slot in set(asked.generation) - set(asked.value):
            self.remember(slot, asked)
        for later in self.open:
            later.wanted.fill(wanted)
            self.take_over(later, asked)

    def remember(self, slot: int, asked: Asked) -> None:
        """The newest version of a position that is still there."""
        generation, version = asked.generation[slot], asked.wanted.version
        asked.value[slot] = truth(slot, generation, version)
        older = [key for key in self.known if key[:2] == (slot, generation)]
        if generation == self.slots.generation[slot] and all(key[2] < version for key in older):
            for key in older:
                del self.known[key]
            self.known[slot, generation, version] = asked.value[slot]

    def compare(self) -> None:
        """Every open request knows what its twin knows, and knows it rightly."""
        for asked in self.open:
            wanted = asked.wanted
            assert wanted.slots.tolist() == sorted(asked.generation)
            assert set(wanted.slots[wanted.known].tolist()) == set(asked.value)
            expected = np.array([asked.value[s] for s in sorted(asked.value)], np.float32)
            for column in (wanted.root_value, -wanted.network_value, *wanted.policy.T):
                np.testing.assert_array_equal(column[wanted.known], expected)
        assert self.cache.num_computed == self.num_computed


@pytest.mark.parametrize("seed", range(10))
def test_random_requests_and_answers_agree_with_the_slow_twin(seed: int):
    twin = Twin(seed)
    for _ in range(300):
        names = ["ask", "answer", "overwrite", "move_on"]
        getattr(twin, str(twin.rng.choice(names, p=[0.4, 0.35, 0.15, 0.1])))()
        twin.compare()
    assert twin.num_computed < twin.cache.num_asked

"""Searches back to back with nothing else to do: what a service could answer at most.

Run by `serving.py` in a process of its own; reads a JSON object a line, answers with one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch

from rllib_ez.agent import Agent
from serve.loadtest import random_stacks

NUM_BATCHES = 500  # drawn from the histogram


def drawn_sizes(observations_by_batch: dict[int, int], *, seed: int) -> np.ndarray:
    """[500] i64: batch sizes, as often as the service had batches of that size."""
    sizes = np.array(sorted(observations_by_batch))
    batches = np.array([observations_by_batch[int(size)] / size for size in sizes])
    rng = np.random.default_rng(seed)
    return rng.choice(sizes, NUM_BATCHES, p=batches / batches.sum())


class Alone:
    """An agent and the stacks it is asked about."""

    def __init__(self, checkpoint: str, *, threads: int, largest: int, seed: int) -> None:
        torch.set_num_threads(threads)
        self.agent = Agent.load(checkpoint)
        shape = (largest, *self.agent.observation_shape)
        self.stacks = random_stacks(
            np.random.default_rng(seed), shape, str(self.agent.card.frame_dtype)
        )

    def run(self, sizes: np.ndarray, *, seconds: float, simulations: int | None) -> dict[str, Any]:
        """Searches batches of these sizes in turn, for so long."""
        budget = simulations or self.agent.card.search.num_simulations
        self.search(int(sizes.max()), budget)
        count, turn, begun, cpu = 0, 0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - begun) < seconds:
            size = int(sizes[turn % len(sizes)])
            self.search(size, budget)
            count, turn = count + size, turn + 1
        passed = time.perf_counter() - begun
        return {
            "observations": count,
            "seconds": passed,
            "observations_per_second": count / passed,
            "cpu_ms": 1000 * (time.process_time() - cpu) / count,
        }

    def search(self, size: int, budget: int) -> None:
        """One search, as the service calls it."""
        self.agent.search(
            self.stacks[:size],
            seeds=np.zeros(size, np.uint64),
            num_simulations=np.full(size, budget, np.int32),
        )


def main() -> None:
    """Answers until there is no more to read."""
    alone: Alone | None = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "quit":
            return
        if message["cmd"] == "load":
            alone = Alone(**message["agent"])
            answer: dict[str, Any] = {"threads": torch.get_num_threads()}
        else:
            assert alone is not None, message
            histogram = {int(size): count for size, count in message["histogram"].items()}
            answer = alone.run(
                drawn_sizes(histogram, seed=message["seed"]),
                seconds=message["seconds"],
                simulations=message["simulations"],
            )
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""Searches that remembered reanalysis needs, beside the naive way's, counted over a whole run.

    python -m benchmarks.reanalyse

A run at the Atari-100k settings without frames, network and gradients: the real replay, memory of
targets, target builder and credits, with 1-number frames, made-up episodes and priorities, and a
reanalyser that answers at once. The naive way searches every position of every batch anew. Counts,
not times; some minutes for each of four runs. Writes benchmarks/results/reanalyse/: result.json,
table.md and curves.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.reanalyse_report import NAIVE, draw, row_of, table
from rllib_ez.algorithm.credits import Credits, target_version
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.core.config import ReplayConfig, TargetsConfig
from rllib_ez.core.replay import Replay
from rllib_ez.core.replay_shard import DrawOrder, ReplayShard
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.core.targets import TargetBuilder
from rllib_ez.core.types import FreshTargets, PositionBatch, Segment, TrainBatch

FOLDER = Path(__file__).parent / "results" / "reanalyse"
NUM_ACTIONS = 6
NUM_UPDATES = 120_000
# The most that remembering may need of the naive way's searches, by updates between networks.
CLAIMS = {200: 1 / 4, 400: 1 / 8}


# Standard deviations of log priorities. CartPole's have 1.5 after 4000 steps with this exponent;
# 0, where all are drawn alike, is the worst case: the fewest positions are met again.
SPREADS = (1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One simulated run. What is not here is as in the preset `atari100k`."""

    interval: int  # updates between target networks
    priority_spread: float  # standard deviation of log priorities, drawn anew at every update
    num_env_steps: int = NUM_UPDATES * 5 // 6
    num_updates: int = NUM_UPDATES
    num_envs: int = 4
    steps_each: int = 10  # of each environment between two rounds of updates
    episode_median: int = 1000  # steps; lengths are lognormal, cut to the two below
    episode_shortest: int = 200
    episode_longest: int = 4000
    num_points: int = 60  # of the curve
    seed: int = 0


@dataclass(slots=True)
class Counts:
    """Positions, summed over the batches so far. The naive way's in three ways of counting."""

    unrolled: int = 0  # policy targets, batch_size * (unroll_steps + 1) whatever they are
    policy: int = 0  # of these, the ones inside their episode
    unique: int = 0  # policy and bootstrap positions together, each once a batch
    remembered_way: int = 0  # searched by the remembered way


class Games:
    """Environments whose episodes have made-up lengths."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.scenario = scenario
        self.rng = rng
        self.num_episodes = 0
        self.games = [self._begin() for _ in range(scenario.num_envs)]

    def play(self, update: int) -> Iterator[Segment]:
        """The next steps of each environment."""
        for place in range(len(self.games)):
            left = self.scenario.steps_each
            while left:
                episode, done, length = self.games[place]
                steps = min(left, length - done)
                ended = done + steps == length
                yield segment(episode, steps, update, is_first=done == 0, ended=ended)
                left -= steps
                self.games[place] = self._begin() if ended else (episode, done + steps, length)

    def _begin(self) -> tuple[int, int, int]:
        """Number of an episode, steps done, and all of its steps."""
        scenario = self.scenario
        length = scenario.episode_median * np.exp(0.7 * self.rng.standard_normal())
        length = np.clip(length, scenario.episode_shortest, scenario.episode_longest)
        self.num_episodes += 1
        return self.num_episodes, 0, int(length)


def segment(episode: int, steps: int, update: int, *, is_first: bool, ended: bool) -> Segment:
    """Steps without content."""
    return Segment(
        episode_id=episode,
        is_first=is_first,
        frames=np.zeros((steps + ended, 1), np.float32),
        action=np.zeros(steps, np.int32),
        reward=np.zeros(steps, np.float32),
        policy=np.full((steps, NUM_ACTIONS), 1 / NUM_ACTIONS, np.float32),
        root_value=np.zeros(steps, np.float32),
        terminated=ended,
        truncated=False,
        collected_at_update=update,
    )


def answer(batch: PositionBatch) -> FreshTargets:
    """Says nothing of all positions."""
    num = len(batch.position)
    zeros = np.zeros(num, np.float32)
    return FreshTargets(np.full((num, NUM_ACTIONS), 1 / NUM_ACTIONS, np.float32), zeros, zeros)


class Simulation:
    """Acting, replay, reanalyse and learning in turns, as one process takes them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = np.random.default_rng(scenario.seed)
        self.games = Games(scenario, self.rng)
        self.credits = Credits(RunConfig())
        self.shard = make_shard(scenario.seed)
        self.counts = Counts()

    def run(self) -> dict[str, Any]:
        """All updates; the counts, and a curve of them."""
        scenario, credits = self.scenario, self.credits
        every = scenario.num_updates // scenario.num_points
        curve: list[dict[str, int]] = []
        while credits.num_updates < scenario.num_updates:
            is_learning_only = credits.num_env_steps >= scenario.num_env_steps
            if not is_learning_only:
                self.act()
            while is_learning_only or credits.due > 0:
                self.learn()
                if credits.num_updates % every == 0:
                    curve.append({"updates": credits.num_updates, **asdict(self.counts)})
                if credits.num_updates == scenario.num_updates:
                    break
        return self.report(curve)

    def act(self) -> None:
        """Adds the next steps."""
        status = self.shard.add(list(self.games.play(self.credits.num_updates)))
        self.credits.num_env_steps = status.num_env_steps

    def learn(self) -> None:
        """One batch, counted, and new priorities."""
        shard, update = self.shard, self.credits.num_updates
        order = DrawOrder(
            number=update,
            num_batches=1,
            batch_size=self.credits.run.batch_size,
            num_parts=1,
            update=update,
            version=target_version(update, interval=self.scenario.interval, lag=0),
        )
        (batch,) = shard.finish(order.number, *map(answer, shard.draw(order)))
        self.count(batch)
        spread = self.scenario.priority_spread
        priority = np.exp(spread * self.rng.standard_normal(len(batch.slot)))
        shard.update_priorities(batch.slot, batch.generation, priority)
        self.credits.num_updates += 1

    def count(self, batch: TrainBatch) -> None:
        """Adds what each way searches for a batch; draws are single, so asked is unique."""
        counts, cache = self.counts, self.shard.cache
        counts.unrolled += batch.policy_mask.size
        counts.policy += int(batch.policy_mask.sum())
        counts.unique, counts.remembered_way = cache.num_asked, cache.num_computed

    def report(self, curve: list[dict[str, int]]) -> dict[str, Any]:
        """What one scenario gave; the buffer is full in the last sixth of the updates."""
        full = next(point for point in curve if point["updates"] * 6 >= curve[-1]["updates"] * 5)
        return {
            "scenario": asdict(self.scenario),
            "env_steps": self.credits.num_env_steps,
            "episodes": self.shard.num_episodes,
            "positions": self.shard.replay.num_positions,
            "updates": self.credits.num_updates,
            "searches": asdict(self.counts),
            "share_of_naive": shares(curve[-1]),
            "share_of_naive_once_full": shares(
                {name: value - full[name] for name, value in curve[-1].items()}
            ),
            "hit_rate": 1 - self.counts.remembered_way / self.counts.unique,
            "curve": curve,
        }


def shares(counts: dict[str, int]) -> dict[str, float]:
    """The remembered way's searches over the naive way's, however those are counted."""
    return {name: counts["remembered_way"] / counts[name] for name in NAIVE}


def make_shard(seed: int) -> ReplayShard:
    """The real thing, for 1-number frames."""
    targets = TargetsConfig()
    replay = Replay(
        ReplayConfig(replay_capacity=100_000),
        frame_shape=(1,),
        frame_dtype=np.float32,
        num_actions=NUM_ACTIONS,
        frame_stack=1,
        unroll_steps=targets.unroll_steps,
        td_steps=targets.td_steps,
    )
    cache = TargetCache(replay, num_actions=NUM_ACTIONS)
    builder = TargetBuilder(targets, replay, cache)
    return ReplayShard(replay, cache, builder, seed=seed, reanalyse_batch_size=256)


def main() -> None:
    """Counts and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=NUM_UPDATES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    args = parser.parse_args()
    machine = describe_machine()
    result = {
        "machine": machine,
        "command": " ".join(["python -m benchmarks.reanalyse", *sys.argv[1:]]),
        "seed": args.seed,
        "settings": {"targets": asdict(TargetsConfig()), "run": asdict(RunConfig())},
        "rows": [
            simulate(interval, spread, updates=args.updates, seed=args.seed)
            for spread in SPREADS
            for interval in CLAIMS
        ],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.out / "table.md").write_text(table(result))
    draw(args.out, result["rows"])
    print(table(result))


def simulate(interval: int, spread: float, *, updates: int, seed: int) -> dict[str, Any]:
    """One scenario; the last sixth of its updates is made without new steps."""
    scenario = Scenario(
        interval=interval,
        priority_spread=spread,
        num_updates=updates,
        num_env_steps=updates * 5 // 6,
        seed=seed,
    )
    began = time.perf_counter()
    row = {**Simulation(scenario).run(), "claim": CLAIMS[interval]}
    print(f"{row_of(row)} {time.perf_counter() - began:.0f} s", flush=True)
    return row


if __name__ == "__main__":
    main()

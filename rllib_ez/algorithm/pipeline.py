"""Who does what when: act, remember, refresh, learn, publish, each as soon as it may.

The driver holds no arrays where replay and learner are actors: it passes references on. With
everything in its own process each call is over when it returns, the same code then goes through
one stage after the other, and a run repeats itself to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from rllib_ez.algorithm.actors import make_reanalyse_workers, make_replay_workers
from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.credits import Credits
from rllib_ez.algorithm.learning import Learning
from rllib_ez.algorithm.memory import plan_memory
from rllib_ez.algorithm.preparation import Preparation
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.algorithm.sampling import Sampling
from rllib_ez.algorithm.shards import Shards
from rllib_ez.algorithm.workers import Calls, Worker
from rllib_ez.core.config import ReplayConfig
from rllib_ez.envs import EnvSpec
from rllib_ez.errors import CheckpointError

WAIT_SECONDS = 0.2  # for anything to be over, before looking around


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a run stands, apart from what learners and shards keep."""

    num_updates: int
    num_env_steps: int
    num_draws: int
    lives: dict[str, int]  # of each env runner
    is_warm: bool  # replay was filled from an archive


class Pipeline:
    """Keeps env runners, replay, searchers and learners at work; holds the replay ratio."""

    def __init__(
        self,
        config: EfficientZeroConfig,
        spec: EnvSpec,
        *,
        runners: Mapping[int, Worker],
        learners: Sequence[Worker],
    ) -> None:
        self.run: RunConfig = config.stage(RunConfig)
        self.memory = plan_memory(config, spec)
        replay: ReplayConfig = replace(
            config.stage(ReplayConfig), replay_bytes=self.memory.replay_bytes
        )
        self.calls = Calls()
        self.credits = Credits(self.run)
        self.shards = Shards(make_replay_workers(config, spec, replay), self.calls)
        searchers = make_reanalyse_workers(config, spec, self.shards.workers)
        self._own_workers = [*self.shards.workers, *searchers]
        self._workers = [*runners.values(), *self._own_workers, *learners]
        steps = len(runners) * config.num_envs_per_env_runner * config.rollout_fragment_length
        self._lead = max(1, int(steps * self.credits.ratio)) if self.is_parallel else 0
        shared: dict[str, Any] = {
            "shards": self.shards, "calls": self.calls, "credits": self.credits
        }  # fmt: skip
        self.sampling = Sampling(config, runners, lead=self._lead, **shared)
        prefetches = any(w.is_beside for w in [*self.shards.workers, *searchers, *learners])
        self.preparation = Preparation(
            config, searchers, prefetch=self.run.prefetch_batches if prefetches else 0, **shared
        )
        self.learning = Learning(
            learners,
            preparation=self.preparation,
            publish_every=self._lead,
            shares_weights=any(worker.is_remote for worker in self._workers),
            **shared,
        )
        self.is_warm = False
        self.is_interrupted: Callable[[], bool] = lambda: False  # for whoever must stop in time
        self.shards.build()

    @property
    def is_parallel(self) -> bool:
        """Whether anything runs in a process, or on a thread, of its own."""
        return any(worker.is_beside for worker in self._workers)

    @property
    def num_env_steps(self) -> int:
        """Env steps taken in by replay, exactly."""
        return self.credits.num_env_steps

    @property
    def num_updates(self) -> int:
        """Gradient updates made."""
        return self.credits.num_updates

    def begin(self) -> None:
        """Publishes the learner's weights as they are; before the first round."""
        self.learning.publish(self.num_updates)
        while len(self.calls):
            self.calls.take_one(timeout=WAIT_SECONDS)
        published = self.learning.published.update
        if published != self.num_updates:
            raise CheckpointError(
                f"learner and replay must have made the same number of updates, got {published} "
                f"and {self.num_updates}; use another checkpoint"
            )

    def work(self) -> None:
        """One round: until every runner could have answered once, and what is due is paid.

        Where stages run side by side, as much may stay due as one round earns. Before the first
        env step and after the last a round lasts until the next target network. Interrupted it
        ends early; nothing is lost by that, and the next round goes on where it stood.
        """
        self._warm_up()
        steps = self.num_env_steps + self.sampling.steps_per_round
        interval, offline = self.run.target_update_every_updates, self.run.num_offline_updates
        is_offline = self.num_updates < offline
        updates = 0  # that a round with env steps makes beyond those that they earn
        if is_offline or self.credits.is_collected:
            updates = self.num_updates - self.num_updates % interval + interval
        while True:
            while self.calls.take_over():
                pass
            if is_offline:
                is_over = self.num_updates >= min(updates, offline)
            elif self.credits.is_collected:
                is_over = self.num_updates >= max(updates, self.credits.earned_by_steps)
            else:
                is_over = self.num_env_steps >= steps and self._is_paid(self._lead)
            if is_over or self._is_at_rest():
                return
            if self.is_interrupted():
                return
            self._start()
            self._take()

    def finish(self) -> None:
        """Pays everything that is due, without asking for more steps."""
        self.sampling.is_closed = True
        try:
            while not self._is_at_rest():
                self._start()
                self._take()
        finally:
            self.sampling.is_closed = False

    def _is_paid(self, lead: int) -> bool:
        return self.credits.due <= lead or not self.shards.total("num_sampleable")

    def _is_at_rest(self) -> bool:
        """Whether nothing is under way and nothing more is to be done."""
        return (
            not len(self.calls)
            and self._is_paid(0)
            and self.num_updates >= self.run.num_offline_updates
            and not self.sampling.may_ask
        )

    def _start(self) -> None:
        self.preparation.start()
        self.learning.start()
        self.sampling.start(self.learning.published)

    def _take(self) -> None:
        """Takes in what is over, or waits for something to be."""
        waits = self.sampling.is_waiting_for_lost or self.preparation.is_waiting_for_lost
        if not len(self.calls) and not waits:
            raise RuntimeError(f"pipeline is stuck at {self.counts()}, {self.credits.due} due")
        if not self.calls.take_one(timeout=WAIT_SECONDS):
            return
        while self.calls.take_one(timeout=0):
            pass

    def _warm_up(self) -> None:
        """Fills replay from an archive, once in a run."""
        if self.run.from_episodes is not None and not self.is_warm:
            self.shards.call_all("warm", self.run.from_episodes)
        self.is_warm = True

    def seconds(self) -> dict[str, dict[str, float]]:
        """Seconds since the start, by role and stage; see `ez profile`."""
        return {
            "env_runner": dict(self.sampling.seconds),
            "replay": dict(self.shards.seconds),
            "reanalyse": dict(self.preparation.seconds),
            "learner": dict(self.learning.seconds),
            "driver": {"waiting": self.calls.seconds_waited},
        }

    def quiesce(self) -> None:
        """Waits until nothing is under way that a checkpoint would hold half of."""
        while self.learning.is_busy or self.shards.num_changing:
            self.calls.take_one(timeout=WAIT_SECONDS)

    def stop(self) -> None:
        """Drops what is under way and ends the actors of replay and reanalyse."""
        self.calls.forget()
        for worker in self._own_workers:
            if worker.is_remote:
                ray.kill(worker.target)

    def restart(self, counts: Counts, targets: Mapping[int, dict[str, torch.Tensor]]) -> None:
        """Goes on from other counters, after learners and shards were restored; then `begin`."""
        self.calls.forget()
        self.learning.forget()
        self.shards.num_changing = 0
        self.credits.num_updates = counts.num_updates
        self.credits.num_env_steps = counts.num_env_steps
        self.credits.steps_under_way = 0
        self.preparation.forget()
        self.preparation.num_draws = counts.num_draws
        self.preparation.target_weights = {v: self.learning.shared(w) for v, w in targets.items()}
        self.sampling.begin_lives(counts.lives)
        self.is_warm = counts.is_warm

    def counts(self) -> Counts:
        """What `restart` needs; exact once `quiesce` returned."""
        return Counts(
            num_updates=self.num_updates,
            num_env_steps=self.num_env_steps,
            num_draws=self.preparation.num_draws,
            lives=self.sampling.lives(),
            is_warm=self.is_warm,
        )

"""Asks env runners for steps, and passes what they lived through to replay."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.credits import Credits
from rllib_ez.algorithm.requests import RunnerReport, SampleRequest
from rllib_ez.algorithm.shards import ADVICE, Shards
from rllib_ez.algorithm.workers import Calls, Passed, Worker, WorkerGone
from rllib_ez.core.clock import add_seconds
from rllib_ez.errors import WorkerLostError

RETRY_SECONDS = 1.0  # before a lost worker is asked again; Ray needs some to start it anew


@dataclass(slots=True)
class Runner:
    """An env runner as the driver sees it."""

    index: int
    worker: Worker
    birth: int | None = None  # of its process; None: not known
    life: int = 0
    is_busy: bool = False
    is_dead: bool = False  # Ray has given up on it
    retry_at: float = 0.0  # on time.monotonic
    asked_at: float = 0.0  # the same
    weights_of: int = -1  # gradient updates of the weights that it has


@dataclass(frozen=True, slots=True)
class Published:
    """Weights of the learner."""

    update: int  # gradient updates they have seen
    weights: Passed


class Sampling:
    """One request at a time for each runner, and no more than the learner can keep up with."""

    def __init__(
        self,
        config: EfficientZeroConfig,
        runners: Mapping[int, Worker],
        *,
        shards: Shards,
        calls: Calls,
        credits: Credits,
        lead: int,
    ) -> None:
        self.runners = [Runner(index, worker) for index, worker in runners.items()]
        self._shards, self._calls, self._credits = shards, calls, credits
        self._lead = lead
        self._steps_each = config.num_envs_per_env_runner * config.rollout_fragment_length
        self.is_closed = False  # no request at all
        self.metrics: list[dict[str, Any]] = []  # RLlib's, not yet handed on
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.num_lost = 0
        self.oldest_weights = 0  # updates that the weights of any steps were behind

    @property
    def steps_per_round(self) -> int:
        """Env steps when every runner has answered once."""
        return self._steps_each * len(self.runners)

    @property
    def is_idle(self) -> bool:
        """Whether no runner is at work."""
        return not any(runner.is_busy for runner in self.runners)

    @property
    def is_waiting_for_lost(self) -> bool:
        """Whether a lost runner is about to be asked again."""
        return any(r.retry_at > 0 and not r.is_dead for r in self.runners)

    @property
    def may_ask(self) -> bool:
        """Whether more steps are wanted now."""
        credits = self._credits
        asked = credits.num_env_steps + credits.steps_under_way
        limit = credits.env_steps_limit
        if self.is_closed or (limit is not None and asked >= limit):
            return False
        if credits.num_updates < credits.run.num_offline_updates:
            return False
        if credits.acts_randomly:
            return True
        if not self._shards.total("num_sampleable"):  # no update can be made: one round more
            return credits.steps_under_way < self.steps_per_round
        return credits.due_with(0) <= self._lead

    def start(self, published: Published) -> None:
        """Asks every runner that is free, as long as steps are wanted; who waited longest first."""
        now = time.monotonic()
        for runner in sorted(self.runners, key=lambda runner: runner.asked_at):
            if runner.is_busy or runner.is_dead or now < runner.retry_at:
                continue
            if not self.may_ask:
                return
            self._ask(runner, published)

    def lives(self) -> dict[str, int]:
        """How often each runner was lost."""
        return {str(runner.index): runner.life for runner in self.runners}

    def begin_lives(self, lives: Mapping[str, int]) -> None:
        """Goes on from another past: what runners elsewhere play does not belong to it."""
        for runner in self.runners:
            runner.is_busy = False
            runner.weights_of = -1
            if runner.worker.is_remote:
                runner.life = max(runner.life, lives.get(str(runner.index), 0)) + 1

    def _ask(self, runner: Runner, published: Published) -> None:
        is_new = runner.weights_of != published.update
        request = SampleRequest(
            update=published.update,
            random_actions=self._credits.acts_randomly,
            birth=runner.birth,
            life=runner.life,
            num_parts=len(self._shards),
        )
        runner.is_busy, runner.weights_of = True, published.update
        runner.asked_at = time.monotonic()
        self._credits.steps_under_way += self._steps_each
        call = runner.worker.call(
            "collect",
            published.weights if is_new else None,
            request=request,
            num_large=len(self._shards),
        )

        def then(report: RunnerReport, *parts: Passed) -> None:
            self._reported(runner, report, parts)

        def lost(gone: WorkerGone) -> None:
            runner.is_dead = gone.for_good
            self._lost(runner, retry_after=RETRY_SECONDS)
            if all(other.is_dead for other in self.runners):
                raise WorkerLostError(
                    f"an env runner must stay alive, all are lost: {gone}; {ADVICE}"
                )

        self._calls.start(call, then, lost=lost)

    def _reported(self, runner: Runner, report: RunnerReport, parts: tuple[Passed, ...]) -> None:
        if not report.is_meant:  # lost and started anew before anybody noticed
            self._lost(runner, retry_after=0.0)
            return
        runner.is_busy, runner.birth = False, report.birth
        self.metrics.append(report.metrics)
        add_seconds(self.seconds, report.seconds)
        self.seconds["busy"] += report.busy_seconds
        for note in report.notes:
            warnings.warn(note, stacklevel=2)
        behind = self._credits.num_updates - runner.weights_of
        self.oldest_weights = max(self.oldest_weights, behind)
        waiting = len(parts)

        def added() -> None:
            nonlocal waiting
            waiting -= 1
            self._credits.num_env_steps = int(self._shards.total("num_env_steps"))
            if waiting == 0:
                self._credits.steps_under_way -= self._steps_each

        def gone(shard: int) -> None:
            self._shards.change(shard, "close_runner", runner.index)
            added()

        for shard, part in enumerate(parts):
            self._shards.change(shard, "add", part, then=added, lost_argument=partial(gone, shard))
            lost = [e for e in report.lost_episodes if e % len(parts) == shard]
            if lost:
                self._shards.change(shard, "close_episodes", lost)

    def _lost(self, runner: Runner, *, retry_after: float) -> None:
        """Ends the games of a runner that was lost; it begins others once it is back."""
        self.num_lost += 1
        self._credits.steps_under_way -= self._steps_each
        runner.is_busy, runner.birth, runner.weights_of = False, None, -1
        runner.life += 1
        runner.retry_at = time.monotonic() + retry_after
        for shard in range(len(self._shards)):
            self._shards.change(shard, "close_runner", runner.index)

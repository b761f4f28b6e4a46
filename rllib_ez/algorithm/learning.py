"""Hands batches to the learners in order, takes priorities back, publishes weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import torch

from rllib_ez.algorithm.credits import Credits
from rllib_ez.algorithm.learner import LearnReport
from rllib_ez.algorithm.preparation import Group, Preparation
from rllib_ez.algorithm.sampling import Published
from rllib_ez.algorithm.shards import ADVICE, Shards
from rllib_ez.algorithm.workers import Calls, Passed, Worker, WorkerGone, value_of
from rllib_ez.core.clock import add_seconds
from rllib_ez.errors import WorkerLostError

MOST_GROUPS = 2  # with the learners: one at work, one that waits


@dataclass(slots=True)
class Handed:
    """A group that the learners have."""

    group: Group
    reports: list[LearnReport] = field(default_factory=list)


class Learning:
    """One learner or several with equal shares. Losing one ends the run."""

    def __init__(
        self,
        learners: Sequence[Worker],
        *,
        preparation: Preparation,
        shards: Shards,
        calls: Calls,
        credits: Credits,
        publish_every: int,
        shares_weights: bool,
    ) -> None:
        self.learners = list(learners)
        self._preparation, self._shards = preparation, shards
        self._calls, self._credits = calls, credits
        self._publish_every = publish_every  # updates; 0: only when all that is due is paid
        self._shares_weights = shares_weights
        self._handed: list[Handed] = []
        self._asked_for = -1  # updates of the newest weights published or on their way
        self.published = Published(-1, None)
        self.metrics: list[dict[str, Any]] = []  # RLlib's, not yet handed on
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def is_busy(self) -> bool:
        """Whether updates are under way."""
        return bool(self._handed)

    def start(self) -> None:
        """Hands over what is ready."""
        while len(self._handed) < MOST_GROUPS:
            group = self._preparation.pop_ready()
            if group is None:
                return
            self._hand(group)

    def publish(self, update: int) -> None:
        """Asks the first learner for its weights, once it has made so many updates."""
        self._asked_for = update

        def published(update: int, weights: Passed) -> None:
            weights = self.shared(weights)
            self.published = Published(update, weights)
            if self._preparation.is_target(update):
                self._preparation.target_weights[update] = weights

        call = self.learners[0].call("publish", num_large=1)
        self._calls.start(call, published, lost=_lost)

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of what acting needs of the network as it is now."""
        call = self.learners[0].call("publish", num_large=1)
        weights: dict[str, torch.Tensor] = value_of(call.large[0])
        return weights

    def shared(self, weights: Passed) -> Passed:
        """Weights as what is passed on: once in the object store where others need them."""
        if self._shares_weights and not isinstance(weights, ray.ObjectRef):
            return ray.put(weights)
        return weights

    def forget(self) -> None:
        """Drops what is under way."""
        self._handed.clear()
        self.published = Published(-1, None)

    def _hand(self, group: Group) -> None:
        """Gives an equal part of every batch to each learner."""
        handed = Handed(group)
        self._handed.append(handed)
        num, batches = len(self.learners), group.batches
        assert batches is not None

        def learned(report: LearnReport) -> None:
            handed.reports.append(report)
            if len(handed.reports) == num:
                self._learned(handed)

        for part, learner in enumerate(self.learners):
            call = learner.call("learn", batches[part::num])
            self._calls.start(call, learned, lost=_lost)
        end = group.order.update + group.order.num_batches
        is_old = 0 < self._publish_every <= end - self._asked_for
        if is_old or end == self._credits.earned or self._preparation.is_target(end):
            self.publish(end)

    def _learned(self, handed: Handed) -> None:
        self._handed.remove(handed)
        results = [result for report in handed.reports for result in report.results]
        fields = ("slot", "generation", "priority")
        columns = [np.concatenate([getattr(r, name) for r in results]) for name in fields]
        self._shards.change(handed.group.shard, "update_priorities", *columns)
        self._credits.num_updates += handed.group.order.num_batches
        for report in handed.reports:
            self.metrics.append(report.metrics)
            add_seconds(self.seconds, report.seconds)
        self._preparation.drop_old_targets()


def _lost(gone: WorkerGone) -> None:
    raise WorkerLostError(f"a learner must stay alive, got: {gone}; {ADVICE}")

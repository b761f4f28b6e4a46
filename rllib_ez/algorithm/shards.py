"""Replay as the driver sees it: one shard or several, how each stands, and whose turn it is."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rllib_ez.algorithm.workers import Calls, Passed, Worker, WorkerGone
from rllib_ez.core.clock import add_seconds
from rllib_ez.core.replay_shard import ShardStatus
from rllib_ez.errors import WorkerLostError

ADVICE = (
    "go on from the last checkpoint: ez train --resume RUN (Tune does it by itself with "
    "FailureConfig(max_failures=...))"
)


class Shards:
    """All shards. Losing one ends the run: what it held is in the last checkpoint only."""

    def __init__(self, workers: Sequence[Worker], calls: Calls) -> None:
        self.workers = list(workers)
        self._calls = calls
        self.status: list[ShardStatus | None] = [None] * len(workers)
        self.num_changing = 0  # calls under way that change what a checkpoint would hold
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._num_drawn = [0.0] * len(workers)

    def __len__(self) -> int:
        return len(self.workers)

    def total(self, name: str) -> float:
        """A number of `ShardStatus`, over all shards."""
        return sum(getattr(status, name) for status in self.status if status is not None)

    def pick(self, num_batches: int) -> int | None:
        """The shard that the next batches come from; None while nothing can be drawn.

        Each shard gets its share of draws by its share of all priorities, so that over time a
        position is drawn as often as if all shards were one. The importance weights of a batch
        are the same then, too: what differs between shards falls out when they are divided by
        the largest.
        """
        masses = [s.total_mass if s is not None and s.num_sampleable else 0 for s in self.status]
        if not any(masses):
            return None
        total = sum(self._num_drawn) + num_batches
        owed = [
            mass / sum(masses) * total - drawn if mass else float("-inf")
            for mass, drawn in zip(masses, self._num_drawn, strict=True)
        ]
        chosen = max(range(len(owed)), key=owed.__getitem__)
        # Forgets slowly, or a shard that was empty for long would now be drawn from alone.
        self._num_drawn = [0.99 * drawn for drawn in self._num_drawn]
        self._num_drawn[chosen] += num_batches
        return chosen

    def change(
        self,
        shard: int,
        method: str,
        *args: Passed,
        then: Callable[[], None] | None = None,
        lost_argument: Callable[[], None] | None = None,
    ) -> None:
        """Calls a method that changes a shard and gives its status.

        Args:
            then: called when it is done.
            lost_argument: called instead if what was to be stored is lost, not the shard.
        """
        self.num_changing += 1

        def done(status: ShardStatus) -> None:
            self.num_changing -= 1
            self.take(shard, status)
            if then is not None:
                then()

        def lost(gone: WorkerGone) -> None:
            self.num_changing -= 1
            if not gone.is_object or lost_argument is None:
                raise shard_lost(shard, gone)
            lost_argument()

        self._calls.start(self.workers[shard].call(method, *args), done, lost=lost)

    def ask(
        self,
        shard: int,
        method: str,
        *args: Passed,
        then: Callable[..., None],
        num_large: int = 0,
        lost_argument: Callable[[], None] | None = None,
    ) -> None:
        """Calls a method whose results are passed on."""

        def lost(gone: WorkerGone) -> None:
            if not gone.is_object or lost_argument is None:
                raise shard_lost(shard, gone)
            lost_argument()

        call = self.workers[shard].call(method, *args, num_large=num_large)
        self._calls.start(call, then, lost=lost)

    def take(self, shard: int, status: ShardStatus) -> None:
        """Notes how a shard stands now."""
        self.status[shard] = status
        add_seconds(self.seconds, status.seconds)
        for note in status.notes:
            warnings.warn(note, stacklevel=2)

    def build(self) -> None:
        """Makes room for what is to be remembered; shards of one node share its memory."""
        nodes = self.call_all("node")
        self.call_all("build", each=[{"num_on_node": nodes.count(node)} for node in nodes])

    def call_all(
        self, method: str, *args: Any, each: Sequence[dict[str, Any]] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Calls a method of every shard and waits; for the start, checkpoints and the end.

        Args:
            each: further keyword arguments, of each shard.

        Returns:
            The small results.
        """
        calls, results = Calls(), dict[int, Any]()
        for shard, worker in enumerate(self.workers):

            def lost(gone: WorkerGone, shard: int = shard) -> None:
                raise shard_lost(shard, gone)

            special = each[shard] if each is not None else {}
            call = worker.call(method, *args, **kwargs, **special)
            calls.start(call, partial(results.__setitem__, shard), lost=lost)
        while len(calls):
            calls.take_one(timeout=1.0)
        for shard, result in results.items():
            if isinstance(result, ShardStatus):
                self.take(shard, result)
        return [results[shard] for shard in range(len(self))]


def shard_lost(shard: int, gone: WorkerGone) -> WorkerLostError:
    """What to say when replay is gone."""
    return WorkerLostError(f"replay shard {shard} must stay alive, got: {gone}; {ADVICE}")

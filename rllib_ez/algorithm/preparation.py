"""From credits to batches: draw, search what is not remembered, finish; several at a time."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.credits import Credits, target_version, updates_until_new_target
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.algorithm.sampling import RETRY_SECONDS
from rllib_ez.algorithm.shards import ADVICE, Shards, shard_lost
from rllib_ez.algorithm.workers import Calls, Passed, Worker, WorkerGone
from rllib_ez.core.replay_shard import DrawOrder, ShardStatus
from rllib_ez.errors import WorkerLostError

MOST_SEARCHES = 2  # under way for each searcher: one at work, one that waits


@dataclass(slots=True)
class Group:
    """Batches that are drawn together."""

    order: DrawOrder
    shard: int
    wanted: list[Passed] | None = None  # position batches; None: not known yet
    targets: dict[int, Passed] = field(default_factory=dict)  # what was found, by place in wanted
    searching: set[int] = field(default_factory=set)
    is_finishing: bool = False
    batches: list[Passed] | None = None  # batch 0 part 0, batch 0 part 1, ...

    @property
    def is_searched(self) -> bool:
        """Whether all targets are there."""
        return self.wanted is not None and len(self.targets) == len(self.wanted)


@dataclass(slots=True)
class Searcher:
    """Who searches old positions, as the driver sees it."""

    worker: Worker
    num_searches: int = 0
    is_dead: bool = False  # Ray has given up on it
    retry_at: float = 0.0


class Preparation:
    """Keeps so many batches on their way that the learner need not wait."""

    def __init__(
        self,
        config: EfficientZeroConfig,
        searchers: Sequence[Worker],
        *,
        shards: Shards,
        calls: Calls,
        credits: Credits,
        prefetch: int,
    ) -> None:
        self._run: RunConfig = config.stage(RunConfig)
        self._num_parts = max(1, config.num_learners)
        self.searchers = [Searcher(worker) for worker in searchers]
        self._shards, self._calls, self._credits = shards, calls, credits
        self._prefetch = prefetch
        self._groups: deque[Group] = deque()
        self.target_weights: dict[int, Passed] = {}  # by version
        self.num_draws = 0
        self.num_lost = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def is_waiting_for_lost(self) -> bool:
        """Whether a lost searcher is about to be asked again."""
        return any(searcher.retry_at > 0 for searcher in self.searchers)

    def version_at(self, update: int) -> int:
        """The target network that the batch of an update is made with."""
        interval = self._run.target_update_every_updates
        return target_version(update, interval=interval, lag=self._prefetch)

    def is_target(self, update: int) -> bool:
        """Whether the network after so many updates is one of the target networks."""
        return update % self._run.target_update_every_updates == 0

    def start(self) -> None:
        """Starts everything that can be started."""
        while self._may_draw():
            self._draw()
        self._search()
        self._finish()

    def pop_ready(self) -> Group | None:
        """The next group, in the order of updates, if its batches are ready."""
        if self._groups and self._groups[0].batches is not None:
            return self._groups.popleft()
        return None

    def forget(self) -> None:
        """Drops everything on its way; the shards must forget their draws, too."""
        self._groups.clear()
        for searcher in self.searchers:
            searcher.num_searches = 0
        self._credits.num_drawn = self._credits.num_updates

    def drop_old_targets(self) -> None:
        """Lets go of target networks that no batch to come is made with."""
        oldest = self.version_at(self._credits.num_updates)
        for version in [v for v in self.target_weights if v < oldest]:
            del self.target_weights[version]

    def _may_draw(self) -> bool:
        credits = self._credits
        return (
            credits.drawable > 0
            and credits.num_drawn - credits.num_updates <= self._prefetch
            and self.version_at(credits.num_drawn) in self.target_weights
            and self._shards.total("num_sampleable") > 0
        )

    def _draw(self) -> None:
        run, update = self._run, self._credits.num_drawn
        interval = run.target_update_every_updates
        same_target = updates_until_new_target(update, interval=interval, lag=self._prefetch)
        count = min(self._credits.drawable, run.batches_ahead, same_target)
        shard = self._shards.pick(count)
        assert shard is not None, self._shards.status
        order = DrawOrder(
            number=self.num_draws,
            num_batches=count,
            batch_size=run.batch_size,
            num_parts=self._num_parts,
            update=update,
            version=self.version_at(update),
        )
        group = Group(order, shard)
        self.num_draws += 1
        self._credits.num_drawn += count
        self._groups.append(group)

        def drawn(wanted: list[Passed]) -> None:
            group.wanted = wanted

        self._shards.ask(shard, "draw", order, then=drawn)

    def _search(self) -> None:
        for group in self._groups:
            for place in range(len(group.wanted or ())):
                if place in group.targets or place in group.searching:
                    continue
                searcher = self._free_searcher(group.shard)
                if searcher is not None:
                    self._send(searcher, group, place)

    def _free_searcher(self, shard: int) -> Searcher | None:
        """The one with the least to do; where there are no reanalyse actors, the shard itself."""
        able = self.searchers
        if self._run.num_reanalyse_actors == 0:
            able = [able[shard]]
        now = time.monotonic()
        free = [
            searcher
            for searcher in able
            if searcher.num_searches < MOST_SEARCHES
            and not searcher.is_dead
            and now >= searcher.retry_at
        ]
        return min(free, key=lambda s: s.num_searches, default=None)

    def _send(self, searcher: Searcher, group: Group, place: int) -> None:
        assert group.wanted is not None
        version = group.order.version
        group.searching.add(place)
        searcher.num_searches += 1

        def found(seconds: float, targets: Passed) -> None:
            searcher.num_searches -= 1
            group.searching.discard(place)
            group.targets[place] = targets
            self.seconds["reanalyse"] += seconds

        def lost(gone: WorkerGone) -> None:
            if gone.is_object or self._run.num_reanalyse_actors == 0:
                raise shard_lost(group.shard, gone)
            self.num_lost += 1
            searcher.num_searches -= 1
            searcher.is_dead = gone.for_good
            searcher.retry_at = time.monotonic() + RETRY_SECONDS
            group.searching.discard(place)
            if all(other.is_dead for other in self.searchers):
                raise WorkerLostError(
                    f"a reanalyse actor must stay alive, all are lost: {gone}; {ADVICE}"
                )

        call = searcher.worker.call(
            "compute",
            group.wanted[place],
            self.target_weights[version],
            version=version,
            num_large=1,
        )
        self._calls.start(call, found, lost=lost)

    def _finish(self) -> None:
        """Each shard finishes its draws in order: a later one may use what an earlier found."""
        waiting: set[int] = set()
        for group in self._groups:
            if group.batches is not None or group.shard in waiting:
                continue
            waiting.add(group.shard)
            if group.is_searched and not group.is_finishing:
                self._finish_one(group)

    def _finish_one(self, group: Group) -> None:
        group.is_finishing = True
        targets = [group.targets[place] for place in range(len(group.targets))]

        def finished(status: ShardStatus, *batches: Passed) -> None:
            self._shards.take(group.shard, status)
            group.batches = list(batches)
            group.wanted, group.targets = None, {}

        def lost() -> None:  # targets that a searcher's node took with it: search again
            group.is_finishing = False
            group.targets.clear()

        self._shards.ask(
            group.shard,
            "finish",
            group.order.number,
            *targets,
            then=finished,
            num_large=group.order.num_batches * group.order.num_parts,
            lost_argument=lost,
        )

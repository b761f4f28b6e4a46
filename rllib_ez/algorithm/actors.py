"""Replay and reanalyse as workers: thin shells over `core/`, the same in a process or an actor.

Every method that the pipeline calls returns a tuple, as `workers.py` says.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.memory import frames_device
from rllib_ez.algorithm.rllib_private import keep_torch_fast
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.algorithm.workers import LocalWorker, Passed, RemoteWorker, Worker
from rllib_ez.core.config import ReplayConfig, TargetsConfig
from rllib_ez.core.replay import Replay, check_fits, estimate_bytes
from rllib_ez.core.replay.archive import EpisodeArchive
from rllib_ez.core.replay.archive_format import ArchiveSpec
from rllib_ez.core.replay.archive_reading import archived_segments
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.replay_shard import DrawOrder, ReplayShard, ShardStatus
from rllib_ez.core.target_cache import TargetCache
from rllib_ez.core.targets import TargetBuilder
from rllib_ez.core.types import FreshTargets, PositionBatch, Segment, TrainBatch
from rllib_ez.envs import EnvSpec
from rllib_ez.errors import CheckpointError

Weights = dict[str, torch.Tensor]
WARM_EPISODES = 2**62  # numbers of episodes that come from an archive start here


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of replay a shard is."""

    index: int
    num_shards: int
    config: ReplayConfig  # with this shard's part of capacity and budget


class ReanalyseWorker:
    """The target network, which comes along with what it is to search."""

    def __init__(self, config: EfficientZeroConfig, spec: EnvSpec) -> None:
        keep_torch_fast()
        self._reanalyser = config.make_reanalyser(spec)

    def compute(
        self, batch: PositionBatch, weights: Weights, *, version: int
    ) -> tuple[float, FreshTargets]:
        """Seconds it took, and what the search with the network of `version` says."""
        start = time.perf_counter()
        if self._reanalyser.version != version:
            self._reanalyser.set_weights(weights, version=version)
        targets = self._reanalyser.compute(batch)
        return time.perf_counter() - start, targets


class ReplayWorker:
    """A shard of replay; reanalyses itself where no reanalyse actors do."""

    def __init__(
        self, config: EfficientZeroConfig, spec: EnvSpec, share: Share, *, is_remote: bool
    ) -> None:
        self._config, self._spec = config, spec
        self._share, self._is_remote = share, is_remote
        self._reanalyse_worker: ReanalyseWorker | None = None
        self.shard: ReplayShard

    def node(self) -> tuple[str]:
        """Where this is."""
        return (ray.get_runtime_context().get_node_id() if self._is_remote else "",)

    def build(self, *, num_on_node: int) -> tuple[ShardStatus]:
        """Makes room for the shard.

        Args:
            num_on_node: shards on this node; they must fit into its memory together.

        Raises:
            MemoryBudgetError: they do not.
        """
        self.shard = make_shard(self._config, self._spec, self._share, num_on_node=num_on_node)
        return (self.shard.status(),)

    def add(self, segments: Sequence[Segment]) -> tuple[ShardStatus]:
        """See `ReplayShard.add`."""
        return (self.shard.add(segments),)

    def close_runner(self, runner: int) -> tuple[ShardStatus]:
        """See `ReplayShard.close_runner`."""
        return (self.shard.close_runner(runner),)

    def close_episodes(self, episode_ids: Iterable[int]) -> tuple[ShardStatus]:
        """See `ReplayShard.close_episodes`."""
        return (self.shard.close_episodes(episode_ids),)

    def draw(self, order: DrawOrder) -> tuple[list[Passed]]:
        """See `ReplayShard.draw`; from an actor come references."""
        batches = self.shard.draw(order)
        return ([ray.put(batch) for batch in batches] if self._is_remote else batches,)

    def compute(
        self, batch: PositionBatch | Any, weights: Weights, *, version: int
    ) -> tuple[float, FreshTargets]:
        """See `ReanalyseWorker.compute`."""
        if self._reanalyse_worker is None:
            self._reanalyse_worker = ReanalyseWorker(self._config, self._spec)
        return self._reanalyse_worker.compute(batch, weights, version=version)

    def finish(self, number: int, *targets: FreshTargets) -> tuple[ShardStatus | TrainBatch, ...]:
        """See `ReplayShard.finish`."""
        batches = self.shard.finish(number, *targets)
        return (self.shard.status(), *batches)

    def update_priorities(
        self, slot: np.ndarray, generation: np.ndarray, priority: np.ndarray
    ) -> tuple[ShardStatus]:
        """See `ReplayShard.update_priorities`."""
        return (self.shard.update_priorities(slot, generation, priority),)

    def forget_draws(self) -> tuple[ShardStatus]:
        """See `ReplayShard.forget_draws`."""
        self.shard.forget_draws()
        return (self.shard.status(),)

    def warm(self, uri: str) -> tuple[ShardStatus]:
        """Fills this shard with its part of an archive's newest episodes."""
        share = self._share
        segments = archived_segments(
            uri,
            spec=archive_spec(self._config, self._spec),
            newest_steps=share.num_shards * self.shard.replay.capacity,
            first_episode_id=WARM_EPISODES,
        )
        status = self.shard.status()
        for segment in segments:
            if segment.episode_id % share.num_shards == share.index:
                status = self.shard.add([segment], warm=True)
        return (status,)

    def save(self, folder: str, *, token: str) -> tuple[ShardStatus]:
        """Writes the shard into a folder that the driver has made.

        Raises:
            CheckpointError: the folder is not to be seen from here.
        """
        if not (Path(folder) / token).exists():
            raise CheckpointError(
                f"a checkpoint's folder must be seen by every node, got {folder}, which node "
                f"{os.uname().nodename} of a replay shard cannot see: put the run on shared "
                "storage (--out)"
            )
        self.shard.save(Path(folder) / shard_folder(self._share.index))
        return (self.shard.status(),)

    def saved_as(self, folder: str) -> tuple[None]:
        """See `ReplayShard.saved_as`."""
        self.shard.saved_as(Path(folder) / shard_folder(self._share.index))
        return (None,)

    def load(self, folder: str) -> tuple[ShardStatus]:
        """Becomes what was saved."""
        return (self.shard.load(Path(folder) / shard_folder(self._share.index)),)


def shard_folder(index: int) -> str:
    """Where a shard lies in a checkpoint."""
    return f"shard_{index}"


def archive_spec(config: EfficientZeroConfig, spec: EnvSpec) -> ArchiveSpec:
    """What an episode archive of this run holds."""
    return ArchiveSpec(
        env=config.env if isinstance(config.env, str) else spec.name,
        frame_shape=tuple(spec.frame_space.shape),
        frame_dtype=str(spec.frame_dtype),
        num_actions=spec.num_actions,
    )


def make_shard(
    config: EfficientZeroConfig, spec: EnvSpec, share: Share, *, num_on_node: int
) -> ReplayShard:
    """One shard, empty; raises MemoryBudgetError unless `num_on_node` of them fit in here."""
    run: RunConfig = config.stage(RunConfig)
    targets: TargetsConfig = config.stage(TargetsConfig)
    model = config.model_config_for(spec)
    extra = TargetCache.bytes_per_position(spec.num_actions)
    layout = SlotLayout(model.frame_shape, spec.frame_dtype, spec.num_actions)
    each = estimate_bytes(share.config, layout, extra_bytes_per_slot=extra)
    check_fits(num_on_node * each.total_bytes)
    replay = Replay(
        share.config,
        frame_shape=model.frame_shape,
        frame_dtype=spec.frame_dtype,
        num_actions=spec.num_actions,
        frame_stack=model.frame_stack,
        unroll_steps=targets.unroll_steps,
        td_steps=targets.td_steps,
        extra_bytes_per_slot=extra,
    )
    frame_bytes = math.prod(layout.frame_shape) * layout.frame_dtype.itemsize
    device = frames_device(config, each.capacity * frame_bytes)
    if device is not None:
        replay.mirror_frames(device)
    cache = TargetCache(
        replay, num_actions=spec.num_actions, shard=share.index, num_shards=share.num_shards
    )
    archive = None
    if run.episode_archive is not None:
        archive = EpisodeArchive(
            run.episode_archive, spec=archive_spec(config, spec), writer=f"shard-{share.index}"
        )
    return ReplayShard(
        replay,
        cache,
        TargetBuilder(targets, replay, cache),
        seed=config.seed,
        reanalyse_batch_size=run.reanalyse_batch_size,
        num_reanalysers=max(1, run.num_reanalyse_actors),
        write_episodes=archive.append if archive else None,
    )


def make_replay_workers(
    config: EfficientZeroConfig, spec: EnvSpec, replay: ReplayConfig
) -> list[Worker]:
    """The shards, each with its part of `replay`.

    Losing one loses experience, so it is not restarted: the run resumes from a checkpoint.
    """
    num = config.num_replay_shards
    count = max(1, num)
    part = replace(
        replay,
        replay_bytes=replay.replay_bytes // count,
        replay_capacity=max(1, replay.replay_capacity // count),
    )
    shares = [Share(index, count, part) for index in range(count)]
    if num == 0:
        return [LocalWorker(ReplayWorker(config, spec, shares[0], is_remote=False))]
    actor = ray.remote(
        num_cpus=config.num_cpus_per_replay_shard, max_restarts=0, max_task_retries=0
    )(ReplayWorker)
    workers = [actor.remote(config, spec, share, is_remote=True) for share in shares]
    return [RemoteWorker(worker) for worker in workers]


def make_reanalyse_workers(
    config: EfficientZeroConfig, spec: EnvSpec, replay: Sequence[Worker]
) -> list[Worker]:
    """Those that search: actors, which are restarted when lost, or else the shards themselves."""
    num = config.num_reanalyse_actors
    if num == 0:
        return list(replay)
    actor = ray.remote(
        num_cpus=config.num_cpus_per_reanalyse_actor,
        num_gpus=config.num_gpus_per_reanalyse_actor,
        max_restarts=-1,
        max_task_retries=0,
    )(ReanalyseWorker)
    return [RemoteWorker(actor.remote(config, spec)) for _ in range(num)]

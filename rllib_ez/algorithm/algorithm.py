"""EfficientZero as an RLlib Algorithm: act, remember, refresh, learn, publish."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS
from ray.tune import PlacementGroupFactory

import rllib_ez
from rllib_ez.algorithm.actors import Weights
from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.keeping import KeptPipeline
from rllib_ez.algorithm.metrics import log_pipeline
from rllib_ez.algorithm.pipeline import Pipeline
from rllib_ez.algorithm.rllib_private import env_runner_actors, keep_torch_fast, learners_of
from rllib_ez.algorithm.workers import LocalWorker, RemoteWorker, ThreadWorker, Worker
from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.errors import CheckpointError

PIPELINE = "pipeline"


class EfficientZero(Algorithm):
    """One round collects `rollout_fragment_length` steps per environment and pays the updates."""

    @classmethod
    def get_default_config(cls) -> EfficientZeroConfig:
        """The config with nothing set."""
        return EfficientZeroConfig(algo_class=cls)

    def setup(self, config: Any) -> None:
        """Builds runners and learners (RLlib), then replay, reanalyse and what keeps them busy."""
        super().setup(config)
        keep_torch_fast()
        self._spec = self.config.env_spec()
        runners: dict[int, Worker] = {
            index: RemoteWorker(actor)
            for index, actor in env_runner_actors(self.env_runner_group).items()
        }
        self.pipeline = Pipeline(
            self.config,
            self._spec,
            runners=runners or {0: LocalWorker(self.env_runner)},
            learners=[self._worker_of(learner) for learner in learners_of(self.learner_group)],
        )
        self._kept = KeptPipeline(self.pipeline)
        self.pipeline.begin()

    def _worker_of(self, learner: Any) -> Worker:
        if not self.learner_group.is_local:
            return RemoteWorker(learner)
        if self.config.learner_thread:
            begin = partial(learner.begin_thread, torch.get_num_threads())
            return ThreadWorker(learner, begin=begin)
        return LocalWorker(learner)

    def training_step(self) -> None:
        """Act, remember, refresh, learn, publish."""
        self.pipeline.work()
        self._log()

    def finish_updates(self) -> None:
        """Makes the updates that are still due, without further env steps."""
        self.pipeline.finish()
        self._log()

    def cleanup(self) -> None:
        """Stops everything, our own actors too."""
        if hasattr(self, "pipeline"):  # else it could not be set up
            self.pipeline.stop()
        super().cleanup()

    def learner_weights(self) -> Weights:
        """A copy of what acting needs of the network as it is now; what `Agent` takes."""
        return self.pipeline.learning.weights()

    def _log(self) -> None:
        pipeline = self.pipeline
        for kept, key in (
            (pipeline.sampling.metrics, ENV_RUNNER_RESULTS),
            (pipeline.learning.metrics, LEARNER_RESULTS),
        ):
            if kept:
                self.metrics.aggregate(kept, key=key)
                kept.clear()
        log_pipeline(self.metrics, pipeline)

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        """RLlib's, and what the actors of replay and reanalyse need."""
        request = super().default_resource_request(config)
        settings = cls.get_default_config().update_from_dict(config)
        shard = {"CPU": settings.num_cpus_per_replay_shard}
        searcher = {
            "CPU": settings.num_cpus_per_reanalyse_actor,
            "GPU": settings.num_gpus_per_reanalyse_actor,
        }
        # Behind RLlib's own, whose places it knows by number.
        bundles = [*request.bundles]
        bundles += [shard] * settings.num_replay_shards
        bundles += [searcher] * settings.num_reanalyse_actors
        return PlacementGroupFactory(bundles, strategy=request.strategy)

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """RLlib's, and replay with everything around it."""
        return [*super().get_checkpointable_components(), (PIPELINE, self._kept)]

    def get_state(self, components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state; the pipeline writes its own files."""
        state: dict[str, Any] = super().get_state(components, **kwargs)
        if self._check_component(PIPELINE, components, kwargs.get("not_components")):
            state[PIPELINE] = {}
        return state

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """Writes a checkpoint whole or not at all.

        Everything goes into a folder beside `path` first and is moved there when complete, so
        that a full disk or a kill leaves an earlier checkpoint at `path` as it was.

        Raises:
            CheckpointError: it could not be written; what was at `path` is untouched.
        """
        if path is None or "://" in str(path):
            return str(super().save_to_path(path, **kwargs))
        target = Path(path).absolute()
        draft = target.with_name(f".{target.name}.draft-{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            super().save_to_path(draft, **kwargs)
            write_agent(draft / FOLDER, self.agent_card(), self.learner_weights())
            sync_to_disk(draft)
            move_into_place(draft, target)
            self._kept.saved_as(target / PIPELINE)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise CheckpointError(
                f"checkpoint must be written whole, got {error}; what was at {target} before is "
                "untouched. Free some disk space or choose another folder"
            ) from error
        return str(target)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint exactly, replay and environments included.

        Raises:
            CheckpointError: not a checkpoint, or one cut short.
        """
        folder = Path(path)
        if not (folder / "rllib_checkpoint.json").is_file() and "component" not in kwargs:
            raise CheckpointError(
                f"checkpoint must hold rllib_checkpoint.json, got {str(folder)!r}: not a "
                "checkpoint, or one that was never finished"
            )
        super().restore_from_path(path, *args, **kwargs)
        keep_torch_fast()
        self.pipeline.begin()

    def agent_card(self) -> AgentCard:
        """What `Agent.load` needs to know."""
        config, spec = self.config, self._spec
        return AgentCard(
            env=config.env if isinstance(config.env, str) else spec.name,
            env_config=dict(config.env_config),
            frame_size=config.frame_size,
            grayscale=config.grayscale,
            frame_dtype=str(spec.frame_dtype),
            model=config.model_config_for(spec),
            search=config.search_config(evaluation=True),
            seed=config.seed,
            num_env_steps=self.pipeline.num_env_steps,
            num_updates=self.pipeline.num_updates,
            written_by=rllib_ez.__version__,
        )


def sync_to_disk(folder: Path) -> None:
    """Waits until every file of a folder is on the disk, so that a move cannot outrun its data."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def move_into_place(draft: Path, target: Path) -> None:
    """Puts a finished folder at `target`; what was there goes only once it is there."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        os.replace(draft, target)
        return
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    os.replace(target, old)
    try:
        os.replace(draft, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old)

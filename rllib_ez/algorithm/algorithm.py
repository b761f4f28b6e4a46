"""EfficientZero as an RLlib Algorithm: act, remember, refresh, learn, publish."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS

import rllib_ez
from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.learner import STEP_RESULTS
from rllib_ez.algorithm.metrics import log_stages
from rllib_ez.algorithm.pipeline import Pipeline, keep_torch_fast
from rllib_ez.core.agent_card import FOLDER, AgentCard, write_agent
from rllib_ez.core.random import EPISODES_PER_RUNNER
from rllib_ez.core.types import Segment, TrainBatch
from rllib_ez.errors import CheckpointError

PIPELINE = "pipeline"
Weights = dict[str, torch.Tensor]


def inference_weights(learner: Learner) -> Weights:
    """A copy, on the CPU, of the weights that acting needs."""
    state = learner.module[DEFAULT_MODULE_ID].unwrapped().model.inference_state_dict()
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}


class EfficientZero(Algorithm):
    """One round collects `rollout_fragment_length` steps per environment and pays the updates."""

    @classmethod
    def get_default_config(cls) -> EfficientZeroConfig:
        """The config with nothing set."""
        return EfficientZeroConfig(algo_class=cls)

    def setup(self, config: Any) -> None:
        """Builds runners and learner (RLlib), then replay and reanalyse."""
        super().setup(config)
        keep_torch_fast()
        self._spec = self.config.env_spec()
        self.pipeline = Pipeline(self.config, self._spec)
        self._weights = self.learner_weights()
        self.pipeline.set_target(self._weights)

    def training_step(self) -> None:
        """Act, remember, refresh, learn, publish."""
        self.pipeline.add(self._collect())
        while self.pipeline.updates_due() > 0:
            self._learn(self.pipeline.next_batches())
            if self.pipeline.target_is_due:
                self.pipeline.set_target(self.learner_weights())
        self._weights = self.learner_weights()
        self._log_pipeline()

    def _collect(self) -> list[Segment]:
        request: dict[str, Any] = {"random_actions": self.pipeline.acts_randomly}
        update = self.pipeline.num_updates
        if self.config.num_env_runners == 0:
            runner = self.env_runner
            segments = runner.sample_with_weights(self._weights, update, **request)
            metrics = [runner.get_metrics()]
        else:
            request |= {"weights": ray.put(self._weights), "update": update}
            group = self.env_runner_group
            results = group.foreach_env_runner(
                "sample_with_weights", kwargs=request, local_env_runner=False
            )
            segments = [segment for result in results for segment in result]
            metrics = group.foreach_env_runner("get_metrics", local_env_runner=False)
            self._close_lost_episodes(segments)
        self.metrics.aggregate(metrics, key=ENV_RUNNER_RESULTS)
        return segments

    def _close_lost_episodes(self, segments: list[Segment]) -> None:
        """Ends the episodes of runners that did not answer: they begin others once back."""
        answered = {segment.episode_id // EPISODES_PER_RUNNER for segment in segments}
        open_episodes = self.pipeline.replay.open_episodes
        lost = [e for e in open_episodes if e // EPISODES_PER_RUNNER not in answered]
        self.pipeline.replay.close_episodes(lost)

    def _learn(self, batches: list[TrainBatch]) -> None:
        with self.pipeline.clock.stage("learn"):
            if self.config.num_learners == 0:
                data = TrainingData(batch=batches)
                results = self.learner_group.update(
                    training_data=data, defer_solve_refs_to_learner=True
                )
            else:
                data = TrainingData(batch_refs=[ray.put(batch) for batch in batches])
                results = self.learner_group.update(training_data=data)
        for result in results:
            self.pipeline.learned(result.pop(STEP_RESULTS))
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def learner_weights(self) -> Weights:
        """A copy of what acting needs of the network as it is now; what `Agent` takes."""
        results = self.learner_group.foreach_learner(inference_weights)
        return next(result.get() for result in results)

    def _log_pipeline(self) -> None:
        pipeline = self.pipeline
        cache = pipeline.cache
        counts = {
            "num_env_steps": pipeline.num_env_steps,
            "num_updates": pipeline.num_updates,
            "target_version": pipeline.reanalyser.version,
            "replay_positions": pipeline.replay.num_positions,
            "replay_bytes": pipeline.replay.nbytes,
            "num_roots_reanalysed": pipeline.reanalyser.num_roots_searched,
            "reanalyse_hit_rate": 1 - cache.num_computed / max(1, cache.num_asked),
        }
        for name, value in counts.items():
            self.metrics.log_value(("pipeline", name), value, window=1)
        log_stages(self.metrics, pipeline.clock, "pipeline")

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """RLlib's, and replay with everything around it."""
        return [*super().get_checkpointable_components(), (PIPELINE, self.pipeline)]

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
        self._weights = self.learner_weights()

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

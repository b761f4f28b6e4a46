"""Who does what when: credits for the exact replay ratio, reanalyse, batches, priorities.

The names of RLlib that are private, or that must be set for all this to work, live here only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.checkpoints import Checkpointable
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_ez.algorithm.config import EfficientZeroConfig, RunConfig
from rllib_ez.core.clock import StageClock
from rllib_ez.core.config import ReplayConfig, SearchConfig, TargetsConfig
from rllib_ez.core.random import Stream, generator
from rllib_ez.core.reanalyse import Reanalyser, TargetCache
from rllib_ez.core.replay import Replay
from rllib_ez.core.targets import TargetBuilder
from rllib_ez.core.trainer import StepResult
from rllib_ez.core.types import Segment, TrainBatch
from rllib_ez.envs import EnvSpec
from rllib_ez.errors import CheckpointError


def prepare_rllib(config: AlgorithmConfig) -> None:
    """Sets what RLlib needs to leave weights, states and timing to us."""
    config._dont_auto_sync_env_runner_states = True
    config.merge_env_runner_states = False
    config.broadcast_env_runner_states = True
    config.max_requests_in_flight_per_learner = 1000
    config.env_runner_health_probe_timeout_s = 1.0
    config.delay_between_env_runner_restarts_s = 1.0
    config.min_time_s_per_iteration = 0
    config.log_gradients = False


def registered_creator(name: str) -> Callable[..., Any] | None:
    """What `ray.tune.register_env` was given under this name, if anything."""
    if not _global_registry.contains(ENV_CREATOR, name):
        return None
    creator: Callable[..., Any] = _global_registry.get(ENV_CREATOR, name)
    return creator


def keep_torch_fast() -> None:
    """Undoes what RLlib does to torch for a seed: our randomness does not come from torch."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True


def pick_device(name: str) -> str:
    """ "auto" to "cuda" where there is one, else "cpu"."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


class Pipeline(Checkpointable):
    """Replay, reanalyse and the count of what is due, in the driver's process."""

    def __init__(self, config: EfficientZeroConfig, spec: EnvSpec) -> None:
        self.config = config
        self.run: RunConfig = config.stage(RunConfig)
        self.clock = StageClock()
        self.num_updates = 0
        self.num_samples = 0
        targets: TargetsConfig = config.stage(TargetsConfig)
        model = config.model_config_for(spec)
        extra = TargetCache.bytes_per_position(spec.num_actions)
        self.replay = Replay(
            config.stage(ReplayConfig),
            frame_shape=model.frame_shape,
            frame_dtype=spec.frame_dtype,
            num_actions=spec.num_actions,
            frame_stack=model.frame_stack,
            unroll_steps=targets.unroll_steps,
            td_steps=targets.td_steps,
            extra_bytes_per_slot=extra,
        )
        self.reanalyser = Reanalyser(
            model,
            config.stage(SearchConfig),
            seed=config.seed,
            max_batch=self.run.reanalyse_batch_size,
            root_noise=self.run.reanalyse_root_noise,
            device=pick_device(self.run.inference_device),
            engine=self.run.inference_engine,
        )
        self.cache = TargetCache(self.replay, self.reanalyser, num_actions=spec.num_actions)
        self.builder = TargetBuilder(targets, self.replay, self.cache)
        self._ratio = Fraction(str(self.run.replay_ratio))

    @property
    def num_env_steps(self) -> int:
        """Env steps taken in by replay, exactly."""
        return self.replay.num_steps_added

    @property
    def acts_randomly(self) -> bool:
        """Whether the first steps, without a search, are still being collected."""
        return self.num_env_steps < self.run.num_random_steps

    def add(self, segments: list[Segment]) -> None:
        """Remembers what was lived through."""
        with self.clock.stage("replay"):
            self.replay.add(segments)

    def updates_due(self) -> int:
        """Gradient updates that env steps have earned and nobody has made.

        After each round num_updates == floor(replay_ratio * num_env_steps), exactly.
        """
        if self.acts_randomly or self.replay.num_sampleable == 0:
            return 0
        return int(self.num_env_steps * self._ratio) - self.num_updates

    def next_batches(self) -> list[TrainBatch]:
        """The batches of the next updates: as many as are due, at most `batches_ahead`.

        Never past a change of the target network, so that each batch has targets of one version.
        """
        interval = self.run.target_update_every_updates
        until_new_target = interval - self.num_updates % interval
        count = min(self.updates_due(), self.run.batches_ahead, until_new_target)
        size = self.run.batch_size
        rng = generator(self.config.seed, Stream.REPLAY, self.num_samples)
        self.num_samples += 1
        with self.clock.stage("replay"):
            sample = self.replay.sample(count * size, rng=rng, update=self.num_updates)
        with self.clock.stage("reanalyse"):
            batch = self.builder.build(sample, update=self.num_updates, rng=rng)
        return [batch.rows(start, start + size) for start in range(0, count * size, size)]

    def learned(self, results: list[StepResult]) -> None:
        """Counts updates and writes their priorities back."""
        with self.clock.stage("replay"):
            for result in results:
                self.replay.update_priorities(result.slot, result.generation, result.priority)
        self.num_updates += len(results)

    @property
    def target_is_due(self) -> bool:
        """Whether the target network should be renewed now."""
        return (
            self.reanalyser.version != self.num_updates
            and self.num_updates % self.run.target_update_every_updates == 0
        )

    def set_target(self, weights: dict[str, torch.Tensor]) -> None:
        """Installs the target network of this update."""
        self.reanalyser.set_weights(weights, version=self.num_updates)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Never used: the algorithm makes its pipeline."""
        return (), {}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Empty: `save_to_path` writes the arrays itself, unpickled."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing: see `restore_from_path`."""

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """Writes replay, cache, target network and counters into a folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self.replay.save(folder / "replay")
        np.savez(folder / "target_cache.npz", allow_pickle=False, **self.cache.get_state())
        torch.save(self.reanalyser.model.network.inference_state_dict(), folder / "target.pt")
        counters = {
            "num_updates": self.num_updates,
            "num_samples": self.num_samples,
            "target_version": self.reanalyser.version,
            "num_roots_searched": self.reanalyser.num_roots_searched,
        }
        (folder / "counters.json").write_text(json.dumps(counters))
        return str(folder)

    def restore_from_path(self, path: Any, **kwargs: Any) -> None:
        """Reads what `save_to_path` wrote.

        Raises:
            CheckpointError: a file is missing or cut short.
        """
        folder = Path(path)
        try:
            counters = json.loads((folder / "counters.json").read_text())
            with np.load(folder / "target_cache.npz", allow_pickle=False) as arrays:
                cache = dict(arrays)
            target = torch.load(folder / "target.pt", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"checkpoint must be complete, got {type(error).__name__}: {error} in {folder}; "
                "use an earlier checkpoint"
            ) from error
        self.replay.load(folder / "replay")
        self.cache.set_state(cache)
        self.reanalyser.set_weights(target, version=counters["target_version"])
        self.reanalyser.num_roots_searched = counters["num_roots_searched"]
        self.num_updates = counters["num_updates"]
        self.num_samples = counters["num_samples"]

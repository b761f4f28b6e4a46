"""How the stages take turns, where they run, and what the environment looks like."""

from __future__ import annotations

from dataclasses import dataclass

from rllib_ez.core.config import ENGINES
from rllib_ez.errors import SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How acting, reanalyse and learning take turns, and what the environment looks like."""

    replay_ratio: float = 1.0  # gradient updates per env step, > 0; held exactly
    num_random_steps: int = 2000  # env steps with random actions before the first update
    batch_size: int = 256  # samples per gradient update
    batches_ahead: int = 1  # batches drawn and reanalysed together; their priorities come late
    prefetch_batches: int = 4  # prepared while others are learned, 0 in one process; see credits.py
    target_update_every_updates: int = 200  # gradient updates between target networks
    reanalyse_batch_size: int = 256  # roots searched together in reanalyse
    reanalyse_root_noise: bool = False  # Dirichlet noise in reanalyse too, as published
    random_action_fraction: float = 0.0  # of training actions, drawn uniformly; [0, 1]
    temperature_updates: int = 100_000  # acting turns greedier at 1/2 and 3/4 of these updates
    num_evaluation_simulations: int | None = None  # None: as in training
    frame_size: int = 96  # Atari: height and width of a frame
    grayscale: bool = False  # Atari
    learner_thread: bool = False  # with num_learners 0: learn beside all else, in one process
    num_replay_shards: int = 0  # actors that hold replay; 0: the driver does
    num_reanalyse_actors: int = 0  # actors that search old positions; 0: where replay is
    num_cpus_per_replay_shard: float = 1.0  # what Ray reserves for each
    num_cpus_per_reanalyse_actor: float = 1.0  # the same
    num_gpus_per_reanalyse_actor: float = 0.0  # the same; a fraction shares a GPU
    episode_archive: str | None = None  # folder or URI that finished episodes are written to
    from_episodes: str | None = None  # an archive that fills replay at the start
    num_offline_updates: int = 0  # made from `from_episodes` before the first env step
    # Gradient updates after the last env step, above those that the replay ratio gives. Only a run
    # of known length has a last one: `algo.train()` without `env_steps_limit` never makes them.
    num_final_updates: int = 0  # made after the last env step of a run
    frames_device: str = "auto"  # where batches gather frames: "cpu", "cuda"; auto: cuda if it fits
    inference_device: str = "auto"  # of acting and reanalyse: "cpu", "cuda"; auto: cuda if there
    inference_engine: str = "auto"  # "compiled" (on a CPU), "cuda", "torch"; auto: by the device

    def __post_init__(self) -> None:
        for name in (
            "batch_size batches_ahead target_update_every_updates reanalyse_batch_size "
            "temperature_updates frame_size"
        ).split():
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.replay_ratio <= 0:
            raise SettingError(f"replay_ratio must be > 0, got {self.replay_ratio}")
        for name in (
            "num_random_steps prefetch_batches num_replay_shards num_reanalyse_actors "
            "num_cpus_per_replay_shard num_cpus_per_reanalyse_actor num_gpus_per_reanalyse_actor "
            "num_offline_updates num_final_updates"
        ).split():
            if getattr(self, name) < 0:
                raise SettingError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.num_offline_updates > 0 and self.from_episodes is None:
            raise SettingError(
                f"num_offline_updates must be 0 without from_episodes, got "
                f"{self.num_offline_updates}: there is nothing to learn from"
            )
        fraction = self.random_action_fraction
        if not 0 <= fraction <= 1:
            raise SettingError(f"random_action_fraction must be in [0, 1], got {fraction}")
        simulations = self.num_evaluation_simulations
        if simulations is not None and simulations < 1:
            raise SettingError(f"num_evaluation_simulations must be >= 1, got {simulations}")
        if self.frames_device not in ("auto", "cpu", "cuda"):
            raise SettingError(
                f"frames_device must be 'auto', 'cpu' or 'cuda', got {self.frames_device!r}"
            )
        if self.inference_engine not in ENGINES:
            known = ", ".join(ENGINES)
            raise SettingError(
                f"inference_engine must be one of {known}, got {self.inference_engine!r}"
            )

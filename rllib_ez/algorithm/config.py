"""EfficientZeroConfig: every setting of the project, flat, on RLlib's AlgorithmConfig."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.core.config import (
    ComputeConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
    SearchConfig,
    TargetsConfig,
)
from rllib_ez.core.engines import pick_device
from rllib_ez.core.reanalyse import Reanalyser
from rllib_ez.envs import EnvSpec, describe
from rllib_ez.errors import SettingError

STAGES = (
    ModelConfig, SearchConfig, ReplayConfig, TargetsConfig, LossConfig, ComputeConfig,
    OptimizerConfig, RunConfig,
)  # fmt: skip
# Read off the environment's spaces unless set; None on the flat side means "infer".
INFERRED = {"frame_shape", "num_actions"}
INFERRED_UNLESS_SET = {"network", "frame_stack"}


def flat_defaults() -> dict[str, Any]:
    """Every setting of ours by name, with its default."""
    defaults: dict[str, Any] = {}
    for stage in STAGES:
        for field in fields(stage):
            if field.name not in INFERRED:
                assert field.default is not MISSING, field.name
                unset = field.name in INFERRED_UNLESS_SET
                defaults[field.name] = None if unset else field.default
    return defaults


# RLlib's own settings that mean something here; the CLI refuses all others.
RLLIB_SETTINGS = {
    "num_env_runners": 0,
    "num_learners": 0,
    "num_envs_per_env_runner": 8,
    "num_gpus_per_learner": 0,
    "num_gpus_per_env_runner": 0,
    "num_cpus_per_env_runner": 1,
    "rollout_fragment_length": 10,
    "evaluation_interval": None,
    "evaluation_duration": 20,
    "evaluation_num_env_runners": 0,
    "seed": 0,
}


def known_settings() -> dict[str, Any]:
    """All settings that `ez train --set` and presets take, with their defaults."""
    return {**flat_defaults(), **RLLIB_SETTINGS}


# What RLlib's own `training()` takes. Tune hands all of it back when it copies a config.
RLLIB_TRAINING = set(inspect.signature(AlgorithmConfig.training).parameters) - {"self"}
INSTEAD_OF_RLLIBS = {
    "gamma": "discount",
    "lr": "learning_rate",
    "grad_clip": "max_grad_norm",
    "train_batch_size": "batch_size",
    "train_batch_size_per_learner": "batch_size",
    "optimizer": "optimizer_name",
}


def check_setting_names(names: Iterable[str], *, known: Iterable[str] | None = None) -> None:
    """Raises SettingError at the first unknown name, naming the nearest known ones."""
    allowed = list(known_settings() if known is None else known)
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise SettingError(f"setting must be a known name, got {name!r}{hint}")


class EfficientZeroConfig(AlgorithmConfig):
    """The settings of EfficientZero.

    Ours stand flat beside RLlib's, so that Ray Tune can search over them:

        config = (
            EfficientZeroConfig()
            .environment("CartPole-v1")
            .training(num_simulations=25, learning_rate=1e-3)
        )
        algo = config.build_algo()

    `core/config.py` and `RunConfig` above say what each means, with unit and range.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from rllib_ez.algorithm.algorithm import EfficientZero

            algo_class = EfficientZero
        super().__init__(algo_class=algo_class)
        from rllib_ez.algorithm.env_runner import MCTSEnvRunner
        from rllib_ez.algorithm.rllib_private import prepare_rllib

        self.env_runner_cls = MCTSEnvRunner
        for name, value in known_settings().items():
            setattr(self, name, value)
        self.evaluation_config = {"explore": False}
        self.evaluation_duration_unit = "episodes"
        prepare_rllib(self)

    def training(self, **settings: Any) -> EfficientZeroConfig:
        """Sets any of `known_settings()`.

        Raises:
            SettingError: a name is unknown, or one of RLlib's that would have no effect here.
        """
        rllib = {name: settings.pop(name) for name in list(settings) if name in RLLIB_TRAINING}
        for name, value in rllib.items():
            if value is not NotProvided and value != getattr(self, name, value):
                ours = INSTEAD_OF_RLLIBS.get(name)
                hint = f"set {ours} instead" if ours else "it has no effect on EfficientZero"
                raise SettingError(f"{name} must be left as it is, got {value!r}; {hint}")
        check_setting_names(settings)
        super().training(**rllib)
        for name, value in settings.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The module that RLlib builds on learners and env runners."""
        from rllib_ez.algorithm.rl_module import EfficientZeroRLModule

        names = [f.name for f in fields(ModelConfig) if f.name not in INFERRED]
        settings = {
            **{name: getattr(self, name) for name in names},
            "seed": self.seed,
            "loss": {f.name: getattr(self, f.name) for f in fields(LossConfig)},
            "compute": {f.name: getattr(self, f.name) for f in fields(ComputeConfig)},
            "lstm_horizon": self.lstm_horizon,
        }
        return RLModuleSpec(module_class=EfficientZeroRLModule, model_config=settings)

    def get_default_learner_class(self) -> type:
        """The learner with the lean update."""
        from rllib_ez.algorithm.learner import EfficientZeroLearner

        return EfficientZeroLearner

    def validate(self) -> None:
        """Checks every stage; RLlib calls this before it builds anything."""
        super().validate()
        if self.seed is None:
            raise SettingError("seed must be a number (runs are reproducible by default), got None")
        for name in ("num_envs_per_env_runner", "rollout_fragment_length"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise SettingError(f"{name} must be a number >= 1, got {getattr(self, name)!r}")
        for stage in STAGES[1:]:
            self.stage(stage)
        if self.learner_thread and self.num_learners:
            raise SettingError(
                f"learner_thread must be off where learners are actors, got num_learners "
                f"{self.num_learners}"
            )
        if self.batch_size % max(1, self.num_learners):
            raise SettingError(
                f"batch_size must be a multiple of num_learners, so that each learns an equal "
                f"share, got {self.batch_size} and {self.num_learners}"
            )

    def stage(self, stage: type) -> Any:
        """One of `STAGES` (not ModelConfig) with the values set here."""
        return stage(**{f.name: getattr(self, f.name) for f in fields(stage)})

    def search_config(self, *, evaluation: bool = False) -> SearchConfig:
        """The search of training, or of evaluation."""
        config: SearchConfig = self.stage(SearchConfig)
        if evaluation and self.num_evaluation_simulations is not None:
            values = {f.name: getattr(config, f.name) for f in fields(SearchConfig)}
            values["num_simulations"] = self.num_evaluation_simulations
            return SearchConfig(**values)
        return config

    def make_reanalyser(self, spec: EnvSpec) -> Reanalyser:
        """The target network and its search, still without weights."""
        return Reanalyser(
            self.model_config_for(spec),
            self.search_config(),
            seed=self.seed,
            root_noise=self.reanalyse_root_noise,
            device=pick_device(self.inference_device),
            engine=self.inference_engine,
        )

    def env_spec(self) -> EnvSpec:
        """What the environment's spaces say, with this config's frame size and colour."""
        return describe(
            self.resolved_env(),
            frame_size=self.frame_size,
            gray=self.grayscale,
            env_config=dict(self.env_config),
        )

    def resolved_env(self) -> Any:
        """The environment as `envs.make_env` takes it: an id, or a factory.

        A class, or a creator registered with Tune, gets `env_config` as one dict: RLlib's way.
        """
        from rllib_ez.algorithm.rllib_private import registered_creator

        creator = registered_creator(self.env) if isinstance(self.env, str) else self.env
        if creator is None:
            return self.env

        def make(**env_config: Any) -> Any:
            return creator(env_config)

        make.__qualname__ = getattr(self.env, "__qualname__", str(self.env))  # for messages
        return make

    def model_config_for(self, spec: EnvSpec) -> ModelConfig:
        """The network's shape: what is set here, the rest from the environment."""
        names = [f.name for f in fields(ModelConfig) if f.name not in INFERRED]
        return model_config_from(
            {name: getattr(self, name) for name in names},
            frame_shape=tuple(spec.frame_space.shape),
            frame_stack=self.frame_stack or spec.default_frame_stack,
            num_actions=spec.num_actions,
        )


def model_config_from(
    settings: Mapping[str, Any], *, frame_shape: tuple[int, ...], frame_stack: int, num_actions: int
) -> ModelConfig:
    """A ModelConfig from flat settings (others are ignored) and what the spaces say."""
    names = {field.name for field in fields(ModelConfig)}
    values = {name: value for name, value in settings.items() if name in names}
    scale = values["observation_scale"]
    return ModelConfig(
        **{
            **values,
            "network": values["network"] or ("pixel" if len(frame_shape) == 3 else "vector"),
            "frame_stack": frame_stack,
            "frame_shape": frame_shape,
            "num_actions": num_actions,
            "observation_scale": None if scale is None else tuple(scale),
        }
    )

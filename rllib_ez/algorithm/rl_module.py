"""EfficientZero's network as an RLlib module. The maths is in `core`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from rllib_ez.algorithm.config import model_config_from
from rllib_ez.core.compute import autocast
from rllib_ez.core.config import ComputeConfig, LossConfig
from rllib_ez.core.losses import losses
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.precise_norm import renew_statistics
from rllib_ez.core.random import Stream, generator


class EfficientZeroRLModule(TorchRLModule, InferenceOnlyAPI):
    """Holds the model; `_forward_train` is the whole unroll, so that DDP sees all of it.

    `observation_space` is that of a frame stack, [L, *frame].
    """

    def setup(self) -> None:
        """Builds the network; the same seed gives the same weights, whatever ran before."""
        settings = self.model_config
        stack, *frame_shape = self.observation_space.shape
        config = model_config_from(
            settings,
            frame_shape=tuple(frame_shape),
            frame_stack=stack,
            num_actions=int(self.action_space.n),
        )
        self.loss_config = LossConfig(**settings["loss"])
        self.compute_config = ComputeConfig(**settings["compute"])
        self.lstm_horizon = settings["lstm_horizon"]
        self.seed = settings["seed"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.seed, Stream.MODEL).integers(2**31)))
            self.model = EfficientZeroModel(config)

    def get_non_inference_attributes(self) -> list[str]:
        """Nothing is dropped: the SimSiam parts sit inside the model and cost little."""
        return []

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The bare policy, without search; `Agent` and the env runners search."""
        out = self.model.root(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: out.policy_logits}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The losses of one batch; update and learner (0 and up) seed the augmentation."""
        counters = [batch["update"], batch["learner"]]
        rng: np.random.Generator = generator(self.seed, Stream.AUGMENT, *counters)
        tensors = batch["tensors"]
        with autocast(self.compute_config, tensors["frames"].device):
            return losses(
                self.model,
                tensors,
                config=self.loss_config,
                lstm_horizon=self.lstm_horizon,
                rng=rng,
            )

    def renew_statistics(self, batches: Sequence[dict[str, torch.Tensor]]) -> None:
        """Batch norm's statistics for acting, anew from the tensors of some batches."""
        if batches:
            with autocast(self.compute_config, batches[0]["frames"].device):
                renew_statistics(self.model, batches, lstm_horizon=self.lstm_horizon)

"""The network in plain torch as search sees it: what every faster form is held against.

Axes: B roots, A actions, L frame_stack, M lstm_size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search.estimates import RootEstimate, StepEstimate
from rllib_ez.core.types import Array


class InferenceModel:
    """A network in evaluation mode, one torch call a step."""

    def __init__(self, network: EfficientZeroModel, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.network.requires_grad_(False)
        self.memory_size = network.config.lstm_size

    @classmethod
    def blank(cls, config: ModelConfig, *, device: str | torch.device = "cpu") -> InferenceModel:
        """A model that waits for `load`; making it does not move torch's global RNG."""
        with torch.random.fork_rng(devices=[]):
            return cls(EfficientZeroModel(config), device=device)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over weights, by value; the SimSiam parts may be missing.

        Raises:
            RuntimeError: a name or a shape does not fit the network.
        """
        result = self.network.load_state_dict(dict(weights), strict=False)
        missing = [n for n in result.missing_keys if not n.startswith(("projector.", "predictor."))]
        if missing or result.unexpected_keys:
            raise RuntimeError(
                f"weights must match the network, missing {missing[:3]}, "
                f"unexpected {result.unexpected_keys[:3]}"
            )

    def refresh(self) -> None:
        """Nothing to do: what the network's weights are now is what this model uses."""

    @torch.inference_mode()
    def root(self, observation: Array) -> RootEstimate:
        """Looks at real observations [B, L, *frame]."""
        out = self.network.root(torch.as_tensor(observation).to(self.device))
        value = self.network.value_support.expectation(out.value_logits)
        prior = torch.softmax(out.policy_logits, dim=-1)
        return RootEstimate(out.latent, prior.cpu().numpy(), value.cpu().numpy())

    @torch.inference_mode()
    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        """Imagines one step: latent [B, ...], memory [2, B, M], action [B] i64."""
        out = self.network.step(latent, memory, action.to(self.device))
        value = self.network.value_support.expectation(out.value_logits)
        prefix = self.network.value_prefix_support.expectation(out.value_prefix_logits)
        prior = torch.softmax(out.policy_logits, dim=-1)
        return StepEstimate(
            out.latent, out.memory, prior.cpu().numpy(), value.cpu().numpy(), prefix.cpu().numpy()
        )

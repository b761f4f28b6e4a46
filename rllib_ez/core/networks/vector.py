"""The trunk for vectors: layer-normalised MLPs, the latent bounded by a last layer norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks.blocks import mlp, zero_output


class VectorTrunk(nn.Module):
    """Frames [D] f32 to a latent [hidden_size], and one imagined step from there."""

    observation_scale: Tensor | None  # [D] f32

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_actions = config.num_actions
        inputs = math.prod(config.frame_shape) * config.frame_stack
        self.latent_shape: tuple[int, ...] = (size,)
        self.feature_size = size
        scale = None
        if config.observation_scale is not None:
            scale = torch.tensor(config.observation_scale, dtype=torch.float32)
        self.register_buffer("observation_scale", scale, persistent=False)
        self.encoder = mlp((inputs, size, size), norm=nn.LayerNorm, final_norm=True)
        self.step = mlp((size + self.num_actions, size, size), norm=nn.LayerNorm, final_norm=False)
        self.step_norm = nn.LayerNorm(size)

    def represent(self, observation: Tensor) -> Tensor:
        """Observation [B, L, D] f32 to latent [B, hidden_size]."""
        x = observation.float()
        if self.observation_scale is None:
            x = torch.sign(x) * torch.log1p(x.abs())  # symlog: any range, sign kept
        else:
            x = x * self.observation_scale
        latent: Tensor = self.encoder(x.flatten(1))
        return latent

    def transition(self, latent: Tensor, action: Tensor) -> Tensor:
        """Latent [B, hidden_size] and action [B] i64 to the next latent, residually."""
        one_hot = functional.one_hot(action, self.num_actions).to(latent.dtype)
        change = self.step(torch.cat((latent, one_hot), dim=-1))
        out: Tensor = self.step_norm(latent + change)
        return out

    def prefix_features(self, latent: Tensor) -> Tensor:
        """What the value-prefix LSTM reads: the latent itself, [B, feature_size]."""
        return latent


class VectorPrediction(nn.Module):
    """Policy and value from a latent, through one shared layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.trunk = nn.Sequential(
            *mlp((size, size), norm=nn.LayerNorm, final_norm=True), nn.ReLU()
        )
        self.policy = zero_output(nn.Linear(size, config.num_actions))
        self.value = zero_output(nn.Linear(size, config.value_bins))

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latent [B, hidden_size] to policy_logits [B, A] and value_logits [B, S]."""
        x = self.trunk(latent)
        return self.policy(x), self.value(x)

"""EfficientZero's network: represent, step, accumulate rewards, predict, project.

Axes: B samples, T unrolled steps, A actions, S bins, L frame_stack, M lstm_size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks.blocks import mlp, zero_output
from rllib_ez.core.networks.pixel import PixelPrediction, PixelTrunk
from rllib_ez.core.networks.vector import VectorPrediction, VectorTrunk
from rllib_ez.core.scalar_transform import Support
from rllib_ez.core.types import RootOutput, StepOutput


class EfficientZeroModel(nn.Module):
    """The trainable whole. Search uses the first four parts, the consistency loss `project`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.value_support = Support(config.value_range, config.value_bins)
        self.value_prefix_support = Support(config.value_prefix_range, config.value_prefix_bins)
        self.trunk: VectorTrunk | PixelTrunk
        self.prediction: VectorPrediction | PixelPrediction
        norm: type[nn.Module]
        if config.network == "pixel":
            self.trunk = PixelTrunk(config)
            self.prediction = PixelPrediction(config, self.trunk.latent_shape)
            norm = nn.BatchNorm1d
        else:
            self.trunk = VectorTrunk(config)
            self.prediction = VectorPrediction(config)
            norm = nn.LayerNorm
        self.lstm = nn.LSTM(self.trunk.feature_size, config.lstm_size, batch_first=True)
        hidden = config.head_hidden_size
        self.prefix_norm = norm(config.lstm_size)
        self.prefix_hidden = mlp((config.lstm_size, hidden), norm=norm, final_norm=True)
        self.prefix_output = zero_output(nn.Linear(hidden, config.value_prefix_bins))
        size, projected = math.prod(self.trunk.latent_shape), config.projection_size
        self.projector = mlp(
            (size, projected, projected, projected), norm=nn.BatchNorm1d, final_norm=True
        )
        self.predictor = mlp(
            (projected, config.prediction_hidden_size, projected),
            norm=nn.BatchNorm1d,
            final_norm=False,
        )

    def represent(self, observation: Tensor) -> Tensor:
        """Observation [B, L, *frame] to latent [B, ...]."""
        return self.trunk.represent(observation)

    def transition(self, latent: Tensor, action: Tensor) -> Tensor:
        """Latent [B, ...] and action [B] i64 to the next latent [B, ...]."""
        return self.trunk.transition(latent, action)

    def accumulate(self, latents: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reads T latents in order and says the rewards summed up to each.

        Args:
            latents: [B, T, ...] f32, each the latent *after* a step.
            memory: [2, B, M] f32, the LSTM's (h, c); None for a fresh start.

        Returns:
            value_prefix_logits [B, T, S] and the new memory [2, B, M].
        """
        batch, steps = latents.shape[:2]
        features = self.trunk.prefix_features(latents.flatten(0, 1)).view(batch, steps, -1)
        state = None if memory is None else (memory[:1].contiguous(), memory[1:].contiguous())
        outputs, (h, c) = self.lstm(features, state)
        x = torch.relu(self.prefix_norm(outputs.flatten(0, 1)))
        logits = self.prefix_output(torch.relu(self.prefix_hidden(x)))
        return logits.view(batch, steps, -1), torch.cat((h, c))

    def predict(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latent [B, ...] to policy_logits [B, A] and value_logits [B, S]."""
        policy_logits, value_logits = self.prediction(latent)
        return policy_logits, value_logits

    def project(self, latent: Tensor) -> Tensor:
        """SimSiam's projector: latent [B, ...] to [B, projection_size]."""
        projected: Tensor = self.projector(latent.flatten(1))
        return projected

    def root(self, observation: Tensor) -> RootOutput:
        """Everything about real observations [B, L, *frame]."""
        latent = self.represent(observation)
        policy_logits, value_logits = self.predict(latent)
        return RootOutput(latent, policy_logits, value_logits)

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepOutput:
        """Everything about one imagined step from latent [B, ...], memory [2, B, M]."""
        latent = self.transition(latent, action)
        prefix_logits, memory = self.accumulate(latent.unsqueeze(1), memory)
        policy_logits, value_logits = self.predict(latent)
        return StepOutput(latent, memory, prefix_logits[:, 0], policy_logits, value_logits)

    def inference_state_dict(self) -> dict[str, Tensor]:
        """The weights that acting needs: all but the SimSiam parts."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("projector.", "predictor."))
        }

"""The paper's trunk for pixels: a residual tower, 96x96 to 6x6; small frames may shrink 8-fold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks.blocks import ResidualBlock, residual_blocks, zero_output
from rllib_ez.errors import SettingError


class PixelTrunk(nn.Module):
    """Frames [H, W, C] uint8 to a latent [latent_channels, ceil(H/16), ceil(W/16)].

    Or a latent of ceil(H/8), ceil(W/8): `downsampling` 8 leaves the last average pool out.

    The latent is not min-max scaled. The action enters as one plane holding (action + 1) / A
    (`action_encoding` "scalar": see docs/deviations.md), or as a plane each ("one_hot"). Through
    one plane the network at first takes neighbouring actions for alike: where they are not, as
    up and down in Pong, that costs thousands of updates.
    Source: EfficientZero, arXiv:2111.00210, appendix A.1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if len(config.frame_shape) != 3:
            raise SettingError(
                f"frame_shape must be (height, width, channels) for network 'pixel', "
                f"got {config.frame_shape}"
            )
        height, width, colours = config.frame_shape
        channels, blocks = config.latent_channels, config.num_blocks
        rows, columns = (-(-side // config.downsampling) for side in (height, width))
        self.latent_shape: tuple[int, ...] = (channels, rows, columns)
        self.encoder = nn.Sequential(
            nn.Conv2d(
                colours * config.frame_stack, channels // 2, 3, stride=2, padding=1, bias=False
            ),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            residual_blocks(channels // 2, blocks),
            ResidualBlock(channels // 2, channels, stride=2),
            residual_blocks(channels, blocks),
            nn.AvgPool2d(3, stride=2, padding=1),
            residual_blocks(channels, blocks),
            nn.AvgPool2d(3, stride=2, padding=1) if config.downsampling == 16 else nn.Identity(),
            residual_blocks(channels, blocks),
        )
        codes = action_codes(config.num_actions, config.action_encoding)
        self.action_codes: Tensor
        self.register_buffer("action_codes", codes, persistent=False)
        self.step_conv = nn.Conv2d(channels + codes.shape[1], channels, 3, padding=1, bias=False)
        self.step_norm = nn.BatchNorm2d(channels)
        self.step_blocks = residual_blocks(channels, blocks)
        self.prefix_head = flat_head(config)
        self.feature_size = config.head_channels * rows * columns

    def represent(self, observation: Tensor) -> Tensor:
        """Observation [B, L, H, W, C], uint8 or f32 in 0..255, to latent [B, channels, h, w]."""
        stack = observation.permute(0, 1, 4, 2, 3).flatten(1, 2)  # [B, L*C, H, W]
        latent: Tensor = self.encoder(stack.to(self.step_conv.weight.dtype) / 255.0)
        return latent

    def transition(self, latent: Tensor, action: Tensor) -> Tensor:
        """Latent [B, channels, h, w] and action [B] i64 to the next latent, residually."""
        planes = self.action_planes().to(latent.dtype)[action]
        change = self.step_norm(self.step_conv(torch.cat((latent, planes), dim=1)))
        out: Tensor = self.step_blocks(torch.relu(change + latent))
        return out

    def action_planes(self) -> Tensor:
        """What stands beside the latent for each action: [A, P, h, w] f32, constant planes."""
        return self.action_codes[:, :, None, None].expand(-1, -1, *self.latent_shape[1:])

    def prefix_features(self, latent: Tensor) -> Tensor:
        """What the value-prefix LSTM reads: [B, feature_size]."""
        features: Tensor = self.prefix_head(latent)
        return features


def action_codes(num_actions: int, encoding: str) -> Tensor:
    """The numbers [A, P] f32 that stand for actions, each of which fills a plane."""
    if encoding == "one_hot":
        return torch.eye(num_actions)
    return torch.arange(1, num_actions + 1).view(-1, 1) / num_actions


class PixelPrediction(nn.Module):
    """Policy and value from a latent: one shared residual block, then a head each."""

    def __init__(self, config: ModelConfig, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        features = config.head_channels * latent_shape[1] * latent_shape[2]
        self.trunk = residual_blocks(config.latent_channels, config.num_blocks)
        self.policy_features = flat_head(config)
        self.value_features = flat_head(config)
        self.policy = output_head(features, config.head_hidden_size, config.num_actions)
        self.value = output_head(features, config.head_hidden_size, config.value_bins)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latent [B, channels, h, w] to policy_logits [B, A] and value_logits [B, S]."""
        x = self.trunk(latent)
        return self.policy(self.policy_features(x)), self.value(self.value_features(x))


def flat_head(config: ModelConfig) -> nn.Sequential:
    """1x1 convolution, norm, ReLU, flattened."""
    return nn.Sequential(
        nn.Conv2d(config.latent_channels, config.head_channels, 1),
        nn.BatchNorm2d(config.head_channels),
        nn.ReLU(),
        nn.Flatten(),
    )


def output_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A hidden layer with batch norm, then an output that starts at 0."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        zero_output(nn.Linear(hidden, outputs)),
    )

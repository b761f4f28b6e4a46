"""How the learner runs its network: in which precision, memory format and form."""

from __future__ import annotations

import torch
from torch import nn

from rllib_ez.core.config import ComputeConfig
from rllib_ez.core.networks import EfficientZeroModel


def prepare_network(model: EfficientZeroModel, config: ComputeConfig) -> None:
    """Puts a network, in place, into the form to learn with; names and values stay as they are.

    Args:
        model: on the learner's device.
        config: memory format, and whether to compile.
    """
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile_network:
        for part in compilable(model):
            part.compile()


def compilable(model: EfficientZeroModel) -> list[nn.Module]:
    """The parts that hold the network's arithmetic; the LSTM has fast kernels of its own."""
    parts = [part for part in model.trunk.children() if isinstance(part, nn.Sequential)]
    return [*parts, model.prediction, model.prefix_hidden, model.projector, model.predictor]


def autocast(config: ComputeConfig, device: torch.device) -> torch.autocast:
    """The context in which losses are computed.

    In bfloat16 convolutions and products are; norms, softmax and the losses stay in float32.
    """
    return torch.autocast(
        device.type, torch.bfloat16, enabled=config.learner_precision == "bfloat16"
    )

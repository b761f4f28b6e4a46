"""How the learner runs its network: in which precision, memory format and form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
    precision = config.learner_precision
    enabled = has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device has units for it: GPUs from Ampere on, processors with AMX.

    Others emulate it, and are slower in it than in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch tells of AMX under this name alone; without it we take float32.
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Lets this thread's processor take numbers below 1.2e-38 as 0.

    Weights that nothing pulls at but weight decay, as those of an LSTM that starts anew at every
    step, shrink to such numbers after some 1,500 updates, and a processor computes with them many
    times as slowly. Without effect where the processor has no such mode, and on a GPU.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)

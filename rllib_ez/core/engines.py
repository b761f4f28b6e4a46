"""Which form of the network runs a search: chosen by device, and by measurement.

Axes: B roots, L frame_stack.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.config import ENGINES, ModelConfig, SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import RootEstimate, StepModel, WholeSearch
from rllib_ez.core.types import Array
from rllib_ez.errors import SettingError


class Engine(Protocol):
    """A network that search can use, and whose weights can be exchanged."""

    network: EfficientZeroModel  # where the weights are kept

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over weights, by value."""
        ...

    def refresh(self) -> None:
        """Takes over the weights of the network it was made from."""
        ...

    def root(self, observation: Array) -> RootEstimate:
        """Looks at real observations [B, L, *frame]."""
        ...


class StepEngine(Engine, StepModel, Protocol):
    """One that imagines a step at a time."""


class SearchEngine(Engine, WholeSearch, Protocol):
    """One that runs whole searches."""


def pick_device(name: str) -> str:
    """ "auto" to "cuda" where there is one, else "cpu"; other names as they are."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_engine(
    network: EfficientZeroModel, *, device: str | torch.device = "cpu", engine: str = "auto"
) -> StepEngine | SearchEngine:
    """The network in the form to search with.

    Args:
        network: is put into evaluation mode; `load` writes to it.
        device: "cpu" or a CUDA device.
        engine: "auto": "compiled" on a CPU, "cuda" on a CUDA device, else "torch"; or by name.

    Raises:
        SettingError: an unknown engine, or one that does not run on the device.
    """
    kind = torch.device(device).type
    if engine not in ENGINES:
        raise SettingError(f"inference_engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "auto":
        engine = "compiled" if kind == "cpu" else fastest_on(kind)
    needed = {"compiled": "cpu", "cuda": "cuda"}.get(engine, kind)
    if needed != kind:
        raise SettingError(
            f"inference_engine {engine!r} must run on {needed!r}, got inference_device "
            f"{str(device)!r}: choose 'auto'"
        )
    if engine == "compiled":
        return CompiledModel(network)
    if engine == "cuda":
        from rllib_ez.core.gpu.model import GpuModel  # loads numba.cuda

        return GpuModel(network, device=device)
    return InferenceModel(network, device=device)


def fastest_on(kind: str) -> str:
    """The engine for a device that is no CPU."""
    if kind != "cuda":
        return "torch"
    from numba import cuda

    if cuda.is_available():  # type: ignore[no-untyped-call]
        return "cuda"
    warnings.warn(
        "numba.cuda must see the GPU for fast searches, and does not: searches run step by step in "
        "torch. Install numba-cuda (pip install 'rllib-ez[gpu]'), or set inference_engine='torch'",
        stacklevel=3,
    )
    return "torch"


def blank_engine(
    config: ModelConfig, *, device: str | torch.device = "cpu", engine: str = "auto"
) -> StepEngine | SearchEngine:
    """An engine that waits for `load`; making it does not move torch's global RNG."""
    return make_engine(InferenceModel.blank(config).network, device=device, engine=engine)


def warm_up(
    config: ModelConfig, *, device: str | torch.device = "cpu", engine: str = "auto"
) -> None:
    """Searches once with a blank network, so that everything is compiled and kept on disk."""
    model = blank_engine(config, device=device, engine=engine)
    shape = (1, config.frame_stack, *config.frame_shape)
    kind = np.uint8 if config.network == "pixel" else np.float32
    search(
        model,
        model.root(np.zeros(shape, kind)),
        config=SearchConfig(num_simulations=2),
        seeds=np.zeros(1, np.uint64),
        root_noise=True,
    )

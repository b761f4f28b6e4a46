"""How long a batched search takes, and how much of that is the network's.

Axes: B roots, L frame_stack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.compiled.chain import run_chain
from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.engines import SearchEngine, StepEngine, blank_engine
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import RootEstimate
from rllib_ez.core.types import SearchResult
from rllib_ez.errors import CheckpointError

MIN_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class SearchTiming:
    """Medians over rounds; a round is one whole search and one run of the network alone."""

    batch_size: int
    num_simulations: int
    rounds: int
    ms_per_search: float  # all roots together, results on the host
    us_per_simulation: float  # of one root
    outside_network: float  # share of the search's time: tree, copies, Python; [0, 1]


def load_engine(
    config: ModelConfig, weights: Mapping[str, Tensor], *, engine: str = "auto"
) -> StepEngine | SearchEngine:
    """The model that is timed: the one place that says which engine runs under a search.

    Raises:
        CheckpointError: the weights do not fit the configuration.
        SettingError: there is no such engine.
    """
    model = blank_engine(config, engine=engine)
    try:
        model.load(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint must hold weights that fit its card, got {error}"
        ) from error
    return model


def random_observations(config: ModelConfig, batch: int, *, seed: int) -> np.ndarray:
    """Observations [B, L, *frame] without meaning: uint8 for pixels, f32 for vectors."""
    rng = np.random.default_rng(seed)
    shape = (batch, config.frame_stack, *config.frame_shape)
    if config.network == "pixel":
        return rng.integers(256, size=shape, dtype=np.uint8)
    return rng.standard_normal(shape, dtype=np.float32)


@dataclass(slots=True)
class SearchRun:
    """A search to repeat on the same observations, each time with other seeds."""

    model: StepEngine | SearchEngine
    config: SearchConfig
    observations: np.ndarray  # [B, L, *frame]
    root_noise: bool
    done: int = 0  # searches so far

    def search(self) -> SearchResult:
        """The whole: represent, search, results on the host."""
        batch = len(self.observations)
        counters = np.arange(self.done * batch, (self.done + 1) * batch)
        self.done += 1
        return search(
            self.model,
            self.model.root(self.observations),
            config=self.config,
            seeds=search_seeds(0, Stream.ACT, counters),
            root_noise=self.root_noise,
        )

    def network(self) -> None:
        """The network calls of a search without its tree: a root, then a chain of steps."""
        root = self.model.root(self.observations)
        if isinstance(self.model, CompiledModel):
            run_chain(self.model, root.latent.numpy(), self.config.num_simulations)
        else:
            run_steps(cast(StepEngine, self.model), root, self.config.num_simulations)

    def time(self, *, seconds: float) -> SearchTiming:
        """Alternates both for so long, three rounds at least, after one round to warm up."""
        seconds_of(self.search)
        seconds_of(self.network)
        whole: list[float] = []
        network: list[float] = []
        end = time.perf_counter() + seconds
        while len(whole) < MIN_ROUNDS or time.perf_counter() < end:
            whole.append(seconds_of(self.search))
            network.append(seconds_of(self.network))
        batch, simulations = len(self.observations), self.config.num_simulations
        return SearchTiming(
            batch_size=batch,
            num_simulations=simulations,
            rounds=len(whole),
            ms_per_search=median(whole) * 1e3,
            us_per_simulation=median(whole) * 1e6 / (batch * simulations),
            outside_network=max(0.0, 1 - median(network) / median(whole)),
        )


def run_steps(model: StepEngine, root: RootEstimate, num_simulations: int) -> None:
    """Imagines so many steps on from each root, each from the one before."""
    batch, actions = root.prior.shape
    latent = root.latent
    memory = torch.zeros((2, batch, model.memory_size), device=latent.device)
    every = torch.arange(batch)
    for simulation in range(num_simulations):
        out = model.step(latent, memory, (every + simulation) % actions)
        latent, memory = out.latent, out.memory


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

"""What goes into the two graphs of an exported network and what comes out.

Axes: L frame_stack, A actions, M lstm_size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rllib_ez.core.config import ModelConfig

Shape = tuple[int | str, ...]
BATCH = "batch"  # the name of the dynamic axis


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a graph."""

    name: str
    dtype: str  # as numpy calls it
    shape: Shape  # the batch axis by its name


class Ports(NamedTuple):
    """What goes into a graph and what comes out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def default_frame_dtype(config: ModelConfig) -> str:
    """What frames are made of where no card says it."""
    return "uint8" if config.network == "pixel" else "float32"


def root_ports(config: ModelConfig, latent_shape: tuple[int, ...], *, frame_dtype: str) -> Ports:
    """Of the graph that looks at real observations."""
    frames: Shape = (BATCH, config.frame_stack, *config.frame_shape)
    return Ports(
        (Port("observation", frame_dtype, frames),),
        (
            Port("latent", "float32", (BATCH, *latent_shape)),
            Port("prior", "float32", (BATCH, config.num_actions)),
            Port("value", "float32", (BATCH,)),
        ),
    )


def step_ports(config: ModelConfig, latent_shape: tuple[int, ...]) -> Ports:
    """Of the graph that imagines a step."""
    latent: Shape = (BATCH, *latent_shape)
    memory: Shape = (2, BATCH, config.lstm_size)
    return Ports(
        (
            Port("latent", "float32", latent),
            Port("memory", "float32", memory),
            Port("action", "int64", (BATCH,)),
        ),
        (
            Port("next_latent", "float32", latent),
            Port("next_memory", "float32", memory),
            Port("prior", "float32", (BATCH, config.num_actions)),
            Port("value", "float32", (BATCH,)),
            Port("value_prefix", "float32", (BATCH,)),
        ),
    )

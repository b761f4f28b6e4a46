"""A checkpoint as ONNX files that run anywhere, checked against the network before they stay.

Axes: B samples.
"""

from __future__ import annotations

import copy
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import rllib_ez
from rllib_ez.core.agent_card import AgentCard, read_agent
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.onnx_contract import (
    CONTRACT_FILE,
    ROOT_FILE,
    STEP_FILE,
    Contract,
    write_contract,
)
from rllib_ez.core.onnx_graph import LOWEST_OPSET, draw_graphs
from rllib_ez.core.onnx_model import OnnxModel
from rllib_ez.core.onnx_ports import root_ports, step_ports
from rllib_ez.core.search.estimates import RootEstimate, StepEstimate
from rllib_ez.errors import CheckpointError, EfficientZeroError, SettingError

BATCH_SIZES = (1, 3, 8)
NUM_STEPS = 7  # past the usual lstm_horizon of 5
# Largest difference as a share of max(1, the largest entry). Values are coarser: undoing h
# multiplies the rounding of a scaled value y by about |y|.
TOLERANCES = {"latent": 1e-4, "memory": 1e-4, "prior": 1e-4, "value": 1e-3, "value_prefix": 1e-3}
# And so often torch's own distance from float64: latents without bounds may enlarge rounding
# (the paper's network with random weights: 1e-3 of the memory after 6 steps, here as there).
ROUNDINGS = 8


def export_agent(
    checkpoint: str | Path, out: str | Path, *, opset: int = LOWEST_OPSET, overwrite: bool = False
) -> Contract:
    """Writes root.onnx, step.onnx and contract.json, all three or nothing.

    Args:
        checkpoint: a checkpoint's folder, or a run's (then its newest checkpoint).
        out: the folder to make.
        opset: version of the ONNX operators.
        overwrite: replace an older export at `out`; nothing else is ever replaced.

    Raises:
        SettingError: `out` or `opset` is wrong.
        CheckpointError: the checkpoint cannot be read.
        EfficientZeroError: a package is missing, or ONNX Runtime differs from the network.
    """
    folder = Path(out).absolute()
    _check_place(folder, overwrite=overwrite)
    card, weights = read_agent(checkpoint)
    network = InferenceModel.blank(card.model)
    try:
        network.load(weights)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint must hold weights that fit its card, got {error} in {checkpoint}"
        ) from error
    with _complete_or_nothing(folder) as partial:
        return _write(partial, card, network, opset=opset)


def _write(folder: Path, card: AgentCard, model: InferenceModel, *, opset: int) -> Contract:
    """Graphs, contract, comparison, contract again with what was found."""
    graphs = draw_graphs(model.network, frame_dtype=card.frame_dtype, opset=opset)
    latent = model.network.trunk.latent_shape
    ports = {
        ROOT_FILE: root_ports(card.model, latent, frame_dtype=card.frame_dtype),
        STEP_FILE: step_ports(card.model, latent),
    }
    for name, graph in zip(ports, graphs, strict=True):
        (folder / name).write_bytes(graph.whole().SerializeToString())
    facts: dict[str, Any] = {"opset": opset, "versions": versions()}
    write_contract(folder, card, ports, facts=facts)
    parity = compare(OnnxModel.from_folder(folder), model, card)
    parity.check()
    facts["parity"] = {"batch_sizes": BATCH_SIZES, "steps": NUM_STEPS, **asdict(parity)}
    return write_contract(folder, card, ports, facts=facts)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far ONNX Runtime is from torch, by output: shares of max(1, the largest entry)."""

    largest_difference: dict[str, float]  # nan where either says nan
    torch_rounding: dict[str, float]  # how far torch itself is from float64
    allowed: dict[str, float]  # TOLERANCES + ROUNDINGS * torch_rounding

    def check(self) -> None:
        """Raises EfficientZeroError where a difference is beyond what is allowed, or nan."""
        beyond = {
            name: f"{share:.2g} (at most {self.allowed[name]:.2g})"
            for name, share in self.largest_difference.items()
            if not share <= self.allowed[name]
        }
        if beyond:
            raise EfficientZeroError(
                f"ONNX Runtime must agree with the network, got differences {beyond} as shares of "
                "the largest entry: nothing was written"
            )


def compare(
    model: OnnxModel, reference: InferenceModel, card: AgentCard, *, seed: int = 0
) -> Parity:
    """Shows both the same random observations and walks on with the same random actions.

    Each walks on from its own latent and memory, so that differences may grow as in a search.
    """
    rng = np.random.default_rng(seed)
    exact = InferenceModel(copy.deepcopy(reference.network).double())
    found, rounding = dict.fromkeys(TOLERANCES, 0.0), dict.fromkeys(TOLERANCES, 0.0)
    for batch in BATCH_SIZES:
        seen = random_observations(card, batch, rng)
        actions = rng.integers(card.model.num_actions, size=(NUM_STEPS, batch))
        root, expected_root = model.root(seen), reference.root(seen)
        widen(found, in_arrays(root), in_arrays(expected_root))
        pairs: tuple[tuple[OnnxModel | InferenceModel, Tensor], ...] = (
            (model, root.latent),
            (reference, expected_root.latent),
            (exact, expected_root.latent.double()),
        )
        horizon = card.search.lstm_horizon
        walks = (walked(one, start, actions, lstm_horizon=horizon) for one, start in pairs)
        for got, expected, precise in zip(*walks, strict=True):
            widen(found, got, expected)
            widen(rounding, expected, precise)
    allowed = {name: TOLERANCES[name] + ROUNDINGS * rounding[name] for name in TOLERANCES}
    return Parity(found, rounding, allowed)


def walked(
    model: OnnxModel | InferenceModel, latent: Tensor, actions: np.ndarray, *, lstm_horizon: int
) -> Iterator[dict[str, np.ndarray]]:
    """Everything `model` says of each of actions [T, B], from latent [B, ...] on."""
    blank = torch.zeros(2, len(latent), model.memory_size, dtype=latent.dtype)
    memory = blank
    for depth, action in enumerate(actions):
        if depth % lstm_horizon == 0:
            memory = blank
        out = model.step(latent, memory, torch.from_numpy(action))
        latent, memory = out.latent, out.memory
        yield in_arrays(out)


def in_arrays(estimate: RootEstimate | StepEstimate) -> dict[str, np.ndarray]:
    """What it says, by name."""
    there = [name for name in TOLERANCES if hasattr(estimate, name)]
    return {name: np.asarray(getattr(estimate, name)) for name in there}


def widen(
    worst: dict[str, float], got: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> None:
    """Raises each entry of `worst` to the difference seen here; nan stays."""
    for name, array in expected.items():
        share = np.abs(got[name] - array).max() / np.fmax(1.0, np.abs(array).max())
        worst[name] = float(np.maximum(worst[name], share))


def random_observations(card: AgentCard, batch: int, rng: np.random.Generator) -> np.ndarray:
    """[B, L, *frame] of the environment's dtype."""
    shape = (batch, card.model.frame_stack, *card.model.frame_shape)
    if card.frame_dtype == "uint8" or card.model.network == "pixel":
        return rng.integers(256, size=shape).astype(card.frame_dtype)
    return (3 * rng.standard_normal(shape)).astype(card.frame_dtype)


def versions() -> dict[str, str]:
    """Of all that took part."""
    packages = {name: version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")}
    ours = {"rllib_ez": rllib_ez.__version__, "python": platform.python_version()}
    return ours | packages


def _check_place(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise SettingError(f"out must not exist yet, got {str(folder)!r}: add --overwrite")
    if not folder.is_dir() or not (folder / CONTRACT_FILE).is_file():
        raise SettingError(
            f"out must be an exported agent to be overwritten, got {str(folder)!r} without "
            f"{CONTRACT_FILE}"
        )


@contextmanager
def _complete_or_nothing(folder: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `folder` at the end, or vanishes with an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

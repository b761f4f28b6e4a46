"""What an exported agent promises, as JSON beside its two graphs; needs no ONNX to be read.

DIR/root.onnx      what the network says of observations
DIR/step.onnx      what it says of an imagined step
DIR/contract.json  names, shapes, units, rules, the agent's card, checksums
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rllib_ez.core.agent_card import AgentCard
from rllib_ez.core.onnx_ports import Ports
from rllib_ez.errors import CheckpointError

FORMAT = "rllib-ez-onnx"
FORMAT_VERSION = 1
ROOT_FILE, STEP_FILE, CONTRACT_FILE = "root.onnx", "step.onnx", "contract.json"

UNITS = {
    "observation": "as the environment gives it; scaling is inside the graph",
    "latent": "none; handed on as it is",
    "next_latent": "none; handed on as it is",
    "memory": "none; the LSTM's h and c",
    "next_memory": "none; the LSTM's h and c",
    "action": "an index, 0 .. num_actions - 1",
    "prior": "probability of each action, rows sum to 1",
    "value": "return from here on, discounted, in reward units",
    "value_prefix": "rewards summed since the memory was last zeroed, in reward units",
}
RULES = {
    "start": "a search begins with the latent of root.onnx at depth 0 and a memory of zeros",
    "memory": "a step taken from a node whose depth is a multiple of lstm_horizon (0 included) "
    "gets a memory of zeros, any other the next_memory of the step that led to that node",
    "reward": "reward(edge) = value_prefix(child) - value_prefix(parent), where "
    "value_prefix(parent) counts as 0 if the parent's depth is a multiple of lstm_horizon",
    "rows": "row b of every output depends on row b of the inputs alone",
}


@dataclass(frozen=True, slots=True)
class Contract:
    """What a reader of an exported folder needs."""

    card: AgentCard  # environment, network, search, training
    sha256: dict[str, str]  # by file name
    entries: dict[str, Any]  # everything that stands in the file


def write_contract(
    folder: Path, card: AgentCard, ports: dict[str, Ports], *, facts: dict[str, Any]
) -> Contract:
    """Describes the graphs that lie in `folder`, by file name; `facts` is added as it is."""
    sums = {name: sha256_of(folder / name) for name in ports}
    entries = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "files": {
            name: {"sha256": sums[name], **described(sides)} for name, sides in ports.items()
        },
        "num_actions": card.model.num_actions,
        "lstm_horizon": card.search.lstm_horizon,
        "rules": RULES,
        "preprocessing": preprocessing(card),
        "search": asdict(card.search),
        "checkpoint": {"num_env_steps": card.num_env_steps, "num_updates": card.num_updates},
        **facts,
        "agent": json.loads(card.to_json()),
    }
    (folder / CONTRACT_FILE).write_text(json.dumps(entries, indent=2) + "\n")
    return Contract(card, sums, entries)


def described(ports: Ports) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs with their units."""
    return {
        side: [{**asdict(port), "unit": UNITS[port.name]} for port in getattr(ports, side)]
        for side in ("inputs", "outputs")
    }


def preprocessing(card: AgentCard) -> dict[str, Any]:
    """How frames become an observation."""
    pixels = card.frame_dtype == "uint8"
    return {
        "observation": "[batch, frame_stack, *frame]",
        "frame_stack": card.model.frame_stack,
        "frame_shape": list(card.model.frame_shape),
        "frame_dtype": card.frame_dtype,
        "frame_size": card.frame_size if pixels else None,
        "grayscale": card.grayscale if pixels else None,
        "range": "0..255" if pixels else "any finite number",
        "stack_order": "oldest frame first; an episode's first frame fills the whole stack",
    }


def read_contract(folder: str | Path) -> Contract:
    """Reads and checks an exported folder: format, card, and that no file was changed.

    Raises:
        CheckpointError: nothing there, not ours, of a newer format, or a checksum differs.
    """
    path = Path(folder)
    try:
        entries = json.loads((path / CONTRACT_FILE).read_text())
        if not isinstance(entries, dict) or entries.get("format") != FORMAT:
            raise ValueError(f"no format {FORMAT!r}")
        if entries["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"format_version {entries['format_version']} where {FORMAT_VERSION} is known; "
                "install a newer rllib_ez, or export again"
            )
        sums = {name: str(entries["files"][name]["sha256"]) for name in (ROOT_FILE, STEP_FILE)}
        card = AgentCard.from_json(json.dumps(entries["agent"]))
        changed = [name for name, expected in sums.items() if sha256_of(path / name) != expected]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"exported folder must hold a readable {CONTRACT_FILE} and its graphs, got "
            f"{type(error).__name__}: {error} in {str(path)!r}"
        ) from error
    if changed:
        raise CheckpointError(
            f"files must have the checksums of {CONTRACT_FILE}, got another for {changed} in "
            f"{str(path)!r}; export again"
        )
    return Contract(card, sums, entries)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

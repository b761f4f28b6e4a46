"""What a trained agent is, on disk: a JSON card and its weights. No pickle, no Ray.

agent/card.json   format, environment, network, search
agent/weights.pt  the network's tensors, read with weights_only=True
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_ez.core.agent_folder import find_agent
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.errors import CheckpointError

FORMAT = "rllib-ez-agent"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """Everything but the weights."""

    env: str  # the id it was trained on, for people and for `ez evaluate`
    env_config: dict[str, Any]
    frame_size: int  # Atari
    grayscale: bool  # Atari
    frame_dtype: str  # "uint8" or "float32"
    model: ModelConfig
    search: SearchConfig  # of evaluation
    seed: int
    num_env_steps: int
    num_updates: int
    written_by: str  # version of this package

    def to_json(self) -> str:
        """The card as text, with its format."""
        return json.dumps(
            {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=2
        )

    @classmethod
    def from_json(cls, text: str) -> AgentCard:
        """Reads `to_json`'s text.

        Raises:
            ValueError: not a card, of a newer format, or with unknown or missing entries.
        """
        entries = json.loads(text)
        if not isinstance(entries, dict) or entries.pop("format", None) != FORMAT:
            raise ValueError(f"format must be {FORMAT!r}: this is not an agent of rllib_ez")
        version = entries.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version must be {FORMAT_VERSION}, got {version}; written by rllib_ez "
                f"{entries.get('written_by')}: install that version or a newer one"
            )
        known = {field.name for field in fields(cls)}
        if entries.keys() != known:
            raise ValueError(f"entries must be {sorted(known)}, got {sorted(entries)}")
        model, search = entries.pop("model"), entries.pop("search")
        for name in ("frame_shape", "observation_scale"):
            model[name] = None if model[name] is None else tuple(model[name])
        return cls(**entries, model=ModelConfig(**model), search=SearchConfig(**search))


def write_agent(folder: Path, card: AgentCard, weights: dict[str, Tensor]) -> None:
    """Writes card and weights into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / "weights.pt")
    (folder / "card.json").write_text(card.to_json())


def read_card(checkpoint: str | Path) -> AgentCard:
    """The card alone; arguments and errors as `read_agent`."""
    folder = find_agent(Path(checkpoint))
    try:
        return AgentCard.from_json((folder / "card.json").read_text())
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"checkpoint must hold a readable card, got {error} in {folder}"
        ) from error


def read_agent(checkpoint: str | Path) -> tuple[AgentCard, dict[str, Tensor]]:
    """Reads the agent inside a checkpoint.

    Args:
        checkpoint: a checkpoint's folder, or a run's (then its newest checkpoint).

    Raises:
        CheckpointError: nothing there, not ours, of a newer format, or cut short.
    """
    folder, card = find_agent(Path(checkpoint)), read_card(checkpoint)
    try:
        weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a torn or foreign file
        raise CheckpointError(
            f"checkpoint must hold whole weights, got {type(error).__name__} in "
            f"{folder / 'weights.pt'}; use an earlier checkpoint"
        ) from error
    return card, weights

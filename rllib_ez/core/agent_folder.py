"""Where the agent lies in a checkpoint, and the newest checkpoint in a run."""

from __future__ import annotations

from pathlib import Path

from rllib_ez.errors import CheckpointError

FOLDER = "agent"


def find_agent(path: Path) -> Path:
    """The agent's folder for a checkpoint, or for a run's newest checkpoint."""
    if not path.exists():
        raise CheckpointError(f"checkpoint must exist, got {str(path)!r}: no such folder")
    for candidate in (path, *sorted(path.glob("checkpoint_*"), reverse=True)):
        if (candidate / FOLDER / "card.json").is_file():
            return candidate / FOLDER
    raise CheckpointError(
        f"checkpoint must hold {FOLDER}/card.json, got {str(path)!r}: not a checkpoint of "
        "rllib_ez, or one that was never finished"
    )

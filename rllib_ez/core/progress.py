"""A run's progress.jsonl, read: rows after rounds and after evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROGRESS = "progress.jsonl"


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """The rows of progress.jsonl; a last line cut short by a crash is left out."""
    rows = []
    path = folder / PROGRESS
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def last_evaluation(folder: Path, *, env_steps: int) -> dict[str, Any] | None:
    """The last evaluation of a run up to so many steps: mean return, episodes, steps; or None."""
    found = None
    for row in read_progress(folder):
        if "evaluation" in row and row["env_steps"] <= env_steps:
            found = row
    if found is None:
        return None
    return {
        "return_mean": found["evaluation"]["return_mean"],
        "episodes": len(found["evaluation"]["returns"]),
        "env_steps": found["env_steps"],
    }

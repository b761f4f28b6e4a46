"""A run's progress.jsonl, read: rows after rounds and after evaluations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

PROGRESS = "progress.jsonl"


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """The rows of progress.jsonl; a line cut short by a crash, and what follows, is left out."""
    rows = []
    path = folder / PROGRESS
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def last_evaluation(folder: Path, *, env_steps: int) -> dict[str, Any] | None:
    """The last evaluation of a run up to so many steps: mean return, episodes, steps; or None.

    Args:
        folder: the run's. Another one, whatever lies there, has no evaluation.
        env_steps: a checkpoint's.
    """
    try:
        rows = [row for row in read_progress(folder) if "evaluation" in row]
        found = [row for row in rows if row["env_steps"] <= env_steps]
        if not found or not math.isfinite(found[-1]["evaluation"]["return_mean"]):
            return None
        return {
            "return_mean": found[-1]["evaluation"]["return_mean"],
            "episodes": len(found[-1]["evaluation"]["returns"]),
            "env_steps": found[-1]["env_steps"],
        }
    except (OSError, LookupError, TypeError):
        return None

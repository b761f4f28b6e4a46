"""A run's folder: config.yaml, machine.json, progress.jsonl, curve.png, tensorboard/, episodes/,
checkpoint_<env steps>/ (by `Plan.progress`)."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from rllib_ez.core.agent_folder import find_agent
from rllib_ez.core.progress import PROGRESS, read_progress
from rllib_ez.errors import CheckpointError, SettingError
from rllib_ez.runs.plan import FILE, Plan

CURVE = "curve.png"
TENSORBOARD = "tensorboard"
# What a checkpoint is called while it is written, and an older one of its name until then.
_UNFINISHED = re.compile(r"\.(?P<name>checkpoint_\d+)\.(?P<kind>draft|old)-(?P<pid>\d+)")


def new_run_folder(out: Path | None, plan: Plan) -> Path:
    """Makes the folder of a new run.

    Raises:
        SettingError: it holds a run with a checkpoint already, or is no folder.
    """
    if out is None:
        name = plan.env.replace("/", "-").replace(":", "-")
        stamp = time.strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{name}-{plan.settings['seed']}-{stamp}"
    if (out / FILE).exists():
        tidy_up(out)
        if any(out.glob("checkpoint_*")):  # without one there is nothing to go on with, or to lose
            raise SettingError(
                f"out must be a new folder, got {str(out)!r}, which holds a run; "
                f"to go on with it: ez train --resume {out}"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"out must be a folder that can be made, got {error}") from error
    return out


def checkpoint_path(folder: Path, progress: int) -> Path:
    """Where the checkpoint at this `Plan.progress` belongs; names sort by age."""
    return folder / f"checkpoint_{progress:09d}"


def drop_old_checkpoints(folder: Path, *, keep: int) -> None:
    """Keeps the newest ones."""
    for old in sorted(folder.glob("checkpoint_*"))[:-keep]:
        shutil.rmtree(old)


def tidy_up(folder: Path) -> None:
    """Clears what processes left that were killed while they saved.

    Drafts go. A checkpoint that had been moved out of the way of a newer one is moved back,
    unless the newer one has taken its place.
    """
    for path in folder.glob(".checkpoint_*"):
        match = _UNFINISHED.fullmatch(path.name)
        if match is None or is_someone_else(int(match["pid"])):
            continue
        place = folder / match["name"]
        if match["kind"] == "old" and not place.exists():
            path.replace(place)
        else:
            shutil.rmtree(path)


def is_someone_else(pid: int) -> bool:
    """Whether another process of this number is alive."""
    if pid == os.getpid():  # in a container every run may have the same number
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def checkpoint_to_resume(path: Path) -> tuple[Path, Path]:
    """The run's folder and the checkpoint, from either.

    Raises:
        CheckpointError: nothing there to go on from.
    """
    for folder in (path, path.absolute().parent):
        if (folder / FILE).is_file():
            tidy_up(folder)
    checkpoint = find_agent(path).parent
    folder = checkpoint.absolute().parent
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"a checkpoint must lie in its run's folder, beside {FILE}, got {str(checkpoint)!r}"
        )
    return (path if checkpoint != path else checkpoint.parent), checkpoint


def set_newer_aside(folder: Path, checkpoint: Path) -> list[Path]:
    """Renames checkpoints newer than the one resumed from, so that they do not count as newest."""
    moved = []
    for newer in sorted(folder.glob("checkpoint_*")):
        if newer.name > checkpoint.name:
            aside = newer.with_name(f"set_aside_{newer.name}_{time.strftime('%Y%m%d-%H%M%S')}")
            newer.rename(aside)
            moved.append(aside)
    return moved


def cut_progress(folder: Path, *, env_steps: int, updates: int) -> list[dict[str, Any]]:
    """Drops rows past the checkpoint resumed from, and returns those that stay."""
    rows = [
        row
        for row in read_progress(folder)
        if row["env_steps"] <= env_steps and row["updates"] <= updates
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    draft = folder / f".{PROGRESS}"
    draft.write_text(text)
    draft.replace(folder / PROGRESS)
    return rows


def absolute(uri: str) -> str:
    """A path as it is seen from everywhere; URIs as they are."""
    return uri if "://" in uri else str(Path(uri).absolute())

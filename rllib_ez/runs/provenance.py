"""What made a result: machine, versions, commit, and a hash of every setting.

machine.json in a run's folder and in a trial's checkpoints: a list, an entry for each process that
worked on the run, in order: `config_hash`, `resumed_at` (the run's progress when the process
began) and what `describe_machine` tells of the machine that the process was on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rllib_ez

if TYPE_CHECKING:
    from rllib_ez.runs.plan import Plan

MACHINE = "machine.json"
Machines = list[dict[str, Any]]
# How a run is kept and named, where its files are: the same is learned without them.
_NOT_LEARNED_FROM = ("presets", "checkpoint_every", "keep_checkpoints", "threads")
_PATHS_AND_SEED = ("seed", "episode_archive", "from_episodes")
_GIT_SECONDS = 20.0  # a checkout far away is not worth more


def describe_machine() -> dict[str, Any]:
    """Processor, cores, GPU, versions and commit; None for what is not there."""
    import torch

    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "rllib_ez": rllib_ez.__version__,
        "torch": torch.__version__,
        "ray": version("ray"),
        "commit": commit(),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def commit() -> str | None:
    """The commit of this package, with a plus where the tree has changes; None if installed."""
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")  # another's checkout may be around us
        return _git("describe", "--always", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def config_hash(plan: Plan) -> str:
    """Twelve hexadecimal digits that two runs share if they differ in seed and paths alone.

    sha256 of the canonical JSON of environment, lengths and every setting. Of an archive to learn
    from only counts that there is one.
    """
    values = {name: value for name, value in asdict(plan).items() if name not in _NOT_LEARNED_FROM}
    settings = {name: value for name, value in plan.settings.items() if name not in _PATHS_AND_SEED}
    has_episodes = plan.settings.get("from_episodes") is not None
    values |= {"settings": settings, "has_episodes": has_episodes}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def machines_of(folder: Path | None, plan: Plan, *, resumed_at: int) -> Machines:
    """Who has worked on a run so far, this process last.

    A process that goes on from a checkpoint takes back what others did after it.

    Args:
        folder: where the machine.json so far is; None: there is none.
        plan: the run's.
        resumed_at: its progress now; 0 for a new one.
    """
    before = [] if folder is None else read_machines(folder)
    kept = [one for one in before if one["resumed_at"] < resumed_at]
    here = {"config_hash": config_hash(plan), "resumed_at": resumed_at, **describe_machine()}
    return [*kept, here]


def write_machines(folder: Path, machines: Machines) -> None:
    """Keeps them in a folder."""
    draft = folder / f".{MACHINE}"
    draft.write_text(json.dumps(machines, indent=1) + "\n")
    draft.replace(folder / MACHINE)


def read_machines(folder: Path) -> Machines:
    """Those that a folder keeps; none if it is of an older version."""
    path = folder / MACHINE
    return machines_in(path.read_text(errors="replace")) if path.is_file() else []


def machines_in(text: str | None) -> Machines:
    """The entries of a machine.json; none if it was cut short."""
    try:
        entries = json.loads(text or "[]")
    except ValueError:
        return []
    entries = entries if isinstance(entries, list) else []
    return [one for one in entries if isinstance(one, dict) and "resumed_at" in one]


def hardware(machine: dict[str, Any]) -> str:
    """For people: "Intel Xeon, 8 cores, NVIDIA H200"."""
    parts = [str(machine.get("processor")), f"{machine.get('cpus')} cores", machine.get("gpu")]
    return ", ".join(part for part in parts if part)


def versions(machine: dict[str, Any]) -> str:
    """For people: "rllib_ez 0.8.0, python 3.12.3, torch 2.9.0, ray 2.60.0"."""
    names = ("rllib_ez", "python", "torch", "ray")
    return ", ".join(f"{name} {machine[name]}" for name in names if name in machine)


def _git(*args: str) -> str:
    done = subprocess.run(
        ["git", *args], capture_output=True, text=True, check=True, timeout=_GIT_SECONDS,
        cwd=Path(rllib_ez.__file__).parent,
    )  # fmt: skip
    return done.stdout.strip()

"""How much memory replay takes, and whether that much is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.errors import MemoryBudgetError, SettingError

HEADROOM = 0.9  # the share of free memory that replay may take


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What replay takes once it is full."""

    bytes_per_position: int
    capacity: int  # positions
    total_bytes: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.capacity:,} positions of {self.bytes_per_position:,} bytes: "
            f"{_gib(self.total_bytes)}"
        )


def estimate_bytes(
    config: ReplayConfig, layout: SlotLayout, *, extra_bytes_per_slot: int = 0
) -> MemoryEstimate:
    """Counts bytes per position, the positions the budget holds, and their sum.

    Args:
        extra_bytes_per_slot: what others keep for each slot (remembered targets), >= 0.

    Raises:
        SettingError: the budget does not hold a single position.
    """
    each = layout.bytes_per_position() + extra_bytes_per_slot
    capacity = min(config.replay_capacity, config.replay_bytes // each)
    if capacity < 1:
        raise SettingError(
            f"replay_bytes must hold at least one position of {each} bytes, "
            f"got {config.replay_bytes}"
        )
    return MemoryEstimate(each, capacity, capacity * each)


def check_fits(num_bytes: int, available: int | None = None) -> None:
    """Refuses a replay that would not fit into free memory.

    Args:
        num_bytes: what replay takes when full.
        available: bytes that are free; None asks the machine.

    Raises:
        MemoryBudgetError: more is asked for than is free, less a tenth for everything else.
    """
    free = available_bytes() if available is None else available
    if free is not None and num_bytes > HEADROOM * free:
        raise MemoryBudgetError(
            f"replay needs {_gib(num_bytes)} ({num_bytes:,} bytes) when full, but only "
            f"{_gib(free)} are free and replay may take {HEADROOM:.0%} of them; set "
            f"replay_bytes to at most {int(HEADROOM * free)}, or use a machine with more memory"
        )


def available_bytes() -> int | None:
    """Memory that can still be had here, the container's limit included; None if unknown."""
    known = [size for size in (_machine_bytes(), _cgroup_bytes()) if size is not None]
    return min(known, default=None)


def _machine_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kib) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:  # macOS has no MemAvailable; all of its memory is the best guess there
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _cgroup_bytes(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = int((folder / "memory.max").read_text())  # "max" where there is none
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"

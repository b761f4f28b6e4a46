"""The processes of a run, by what they do, with their processor time and memory. Linux only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DRIVER = "driver"
OTHER_RAY = "ray"  # raylet, gcs, agents, idle workers
ROLES = {  # by what Ray calls the processes of its actors
    "ReplayWorker": "replay",
    "ReanalyseWorker": "reanalyse",
    "_WrappedExecutable": "learner",
    "EnvRunner": "env runner",
    "SleepingRunner": "env runner",
}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process, or of several together."""

    rss: int = 0  # pages shared with others are counted in each
    pss: int = 0  # shared pages are split among those that share them
    own: int = 0  # rss without shared memory: what a leak of ours would be in
    shared: int = 0  # its share of shared memory; of all together: what the object store uses

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.rss + other.rss,
            self.pss + other.pss,
            self.own + other.own,
            self.shared + other.shared,
        )


def family(driver: int | None = None) -> dict[int, str]:
    """Role by pid: of a process (None: this one), its children, their children, ..."""
    driver = os.getpid() if driver is None else driver
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    found, waiting = {driver: DRIVER}, list(children[driver])
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        found[pid] = role_of(_command(pid))
    return found


def role_of(command: str) -> str:
    """What a process with this command line does."""
    if command.startswith("ray::"):
        for name, role in ROLES.items():
            if name in command:
                return role
    return OTHER_RAY


def memory_of(pid: int) -> Memory:
    """Memory of a process; all 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return Memory()
    sizes = {}
    for line in lines + status:
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            sizes[name] = int(rest.split()[0]) * 1024
    return Memory(
        rss=sizes["Rss"],
        pss=sizes["Pss"],
        own=sizes["Rss"] - sizes["RssShmem"],
        shared=sizes.get("Pss_Shmem", 0),
    )


def memory_by_role(driver: int | None = None) -> dict[str, Memory]:
    """Memory of a run's processes, added up by role."""
    total: defaultdict[str, Memory] = defaultdict(Memory)
    for pid, role in family(driver).items():
        total[role] += memory_of(pid)
    return dict(total)


def cpu_seconds(driver: int | None = None) -> dict[str, float]:
    """Processor time of a run's processes that are alive now, added up by role."""
    total: defaultdict[str, float] = defaultdict(float)
    for pid, role in family(driver).items():
        total[role] += _ticks(pid) / TICKS
    return dict(total)


def machine_cpu_seconds() -> float:
    """Processor time of everything on the machine since it was started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / TICKS


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                yield int(folder.name), int(fields[1])


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat behind the name, which may hold blanks: state, parent, ...; [] if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""

"""Ends what Ray started should the driver be killed: run as a script, in a process of its own.

    python reaper.py FOLDER < process ids, a line each

Ray's daemons lead a session each, so that a signal to the driver's group does not reach them.
They die with the driver (the kernel sees to it), and the workers with the raylet; but some agents
of Ray wait a minute for the dead cluster. Once the driver is gone, all that is left of these
sessions is killed and Ray's folder removed. Linux only.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

SECONDS = 10.0  # after which it gives up


def main(folder: str) -> None:
    """Waits until the driver is gone, then clears up behind it."""
    leaders: dict[int, int] = {}  # session: a file descriptor that tells when its leader dies
    driver = os.getppid()
    while True:
        ready = select.select([0, *leaders.values()], [], [])[0]
        if 0 in ready:
            told = os.read(0, 4096)
            if not told:
                break
            leaders |= opened(int(line) for line in told.split())
        elif os.getppid() != driver:
            break
        elif not select.select([0], [], [], 1.0)[0]:
            # Died by itself. Its number may soon be another session's: nothing of ours.
            leaders = {pid: fd for pid, fd in leaders.items() if fd not in ready}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and kill_sessions(leaders.keys()):
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def opened(pids: Iterable[int]) -> dict[int, int]:
    """A pidfd for each process that is alive."""
    found = {}
    for pid in pids:
        try:
            found[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    return found


def kill_sessions(wanted: Collection[int]) -> bool:
    """Kills every process of these sessions; False if there was none."""
    members = [pid for pid, session in sessions() if session in wanted]
    for pid in members:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(members)


def sessions() -> Iterator[tuple[int, int]]:
    """Every living process and its session."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # gone meanwhile
            continue
        if state not in "ZX":
            yield int(stat.parent.name), int(session)


if __name__ == "__main__":
    main(sys.argv[1])

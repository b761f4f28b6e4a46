"""How many threads torch gets.

One for small vector networks, which more make slower. For pixels all cores but one: threads wait
for each other at every operation, so that one busy core slows all of them down (measured with two
threads on two loaded cores: 100 times slower than with one).
"""

from __future__ import annotations

import os


def default_threads(network: str) -> int:
    """For a network of this kind, "vector" or "pixel"."""
    return 1 if network == "vector" else max(1, usable_cores() - 1)


def usable_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""How many threads torch gets.

One for small vector networks, which more make slower. For pixels all cores but one: threads wait
for each other at every operation, so that one busy core slows all of them down (measured with two
threads on two loaded cores: 100 times slower than with one).
"""

from __future__ import annotations

from rllib_ez.core.cores import usable_cores


def default_threads(network: str) -> int:
    """For a network of this kind, "vector" or "pixel"."""
    return 1 if network == "vector" else max(1, usable_cores() - 1)

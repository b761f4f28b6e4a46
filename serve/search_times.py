"""How long searches take by their size: whether it pays to wait for a fuller batch.

On a GPU a search of 64 takes little longer than one of 32, on a CPU twice as long; and while the
device waits, nobody is served. So it is learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SMOOTHING = 0.2  # weight of the newest measurement
FORGOTTEN_AFTER = 200  # batches without one of that size: then it is tried again


@dataclass(slots=True)
class SearchTimes:
    """Seconds per observation of batches of about the same size: n .. 1.4 n."""

    num_batches: int = 0
    each: dict[int, float] = field(default_factory=dict)  # by `bucket`
    seen: dict[int, int] = field(default_factory=dict)  # bucket: the last batch of that size

    def note(self, size: int, seconds: float) -> None:
        """A batch of `size` observations took so long."""
        key, new = bucket(size), seconds / size
        self.num_batches += 1
        old = self.each.get(key, new)
        self.each[key] = old + SMOOTHING * (new - old)
        self.seen[key] = self.num_batches

    def gain(self, first: int, second: int) -> float:
        """Seconds that one search saves over two, of `first` and of `second` observations >= 1.

            gain = t(first) + t(second) - t(first + second)

        0 where a part is not known, infinite where the whole is not: it is tried then.
        """
        one, other = self._seconds(first), self._seconds(second)
        if one is None or other is None:
            return 0.0
        whole = self._seconds(first + second)
        return math.inf if whole is None else one + other - whole

    def _seconds(self, size: int) -> float | None:
        key = bucket(size)
        if key not in self.each or self.num_batches - self.seen[key] >= FORGOTTEN_AFTER:
            return None
        return size * self.each[key]


def bucket(size: int) -> int:
    """The same for sizes that differ by less than about a square root of 2."""
    return round(2 * math.log2(size))

"""Draws leaves in proportion to their mass, in logarithmic time.

Node i has the children 2i and 2i+1; the root is 1, the N leaves are N..2N-1 (any N >= 1).
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.replay.compiled import compiled

BYTES_PER_LEAF = 2 * 2 * 8  # two trees of two f64 nodes a leaf


class SumTree:
    """N masses with their sum, their maximum and a stratified draw. Axes: M leaves of a call."""

    def __init__(self, num_leaves: int) -> None:
        if num_leaves < 1:
            raise ValueError(f"num_leaves must be >= 1, got {num_leaves}")
        self.num_leaves = num_leaves
        self.num_positive = 0  # leaves that can be drawn
        self._sums = np.zeros(2 * num_leaves)  # [2N] f64
        self._peaks = np.zeros(2 * num_leaves)  # [2N] f64

    @property
    def mass(self) -> np.ndarray:
        """The leaves, [N] f64, a view that must not be written to."""
        view = self._sums[self.num_leaves :]
        view.flags.writeable = False
        return view

    @property
    def total(self) -> float:
        """The sum of all masses."""
        return float(self._sums[1])

    @property
    def max_mass(self) -> float:
        """The largest mass, 0 when all are."""
        return float(self._peaks[1])

    @property
    def nbytes(self) -> int:
        """Memory of both trees."""
        return self._sums.nbytes + self._peaks.nbytes

    def set(self, leaf: np.ndarray, mass: np.ndarray) -> None:
        """Gives leaves [M] i64 new masses [M] f64; of a leaf named twice the last one counts.

        Raises:
            ValueError: a leaf is outside the tree, or a mass is negative or not finite.
        """
        self._check(leaf, mass)
        self.num_positive += _set_many(self._sums, self._peaks, leaf, mass)

    def sample(self, unit: np.ndarray) -> np.ndarray:
        """Draws one leaf for each place along the total.

        Args:
            unit: [M] f64 in [0, 1]; place u draws the leaf where the running sum of masses,
                in the tree's own order, first passes u * total.

        Returns:
            [M] i64, never a leaf of mass 0.

        Raises:
            ValueError: all masses are 0.
        """
        if self.num_positive == 0:
            raise ValueError("total must be > 0 to draw from it, got only leaves of mass 0")
        return _descend(self._sums, unit)

    def restore(self, mass: np.ndarray) -> None:
        """Sets the first leaves to `mass` and all others to 0, as if nothing had been before."""
        self._check(np.arange(len(mass)), mass)
        self._sums[:] = 0.0
        self._sums[self.num_leaves : self.num_leaves + len(mass)] = mass
        self._peaks[self.num_leaves :] = self._sums[self.num_leaves :]
        _rebuild(self._sums, self._peaks)
        self.num_positive = int(np.count_nonzero(mass))

    def check_valid(self) -> None:
        """Raises RuntimeError if an inner node is not what its children make it."""
        inner = np.arange(1, self.num_leaves)
        left, right = 2 * inner, 2 * inner + 1
        sums, peaks = self._sums, self._peaks
        broken = sums[inner] != sums[left] + sums[right]
        broken |= peaks[inner] != np.maximum(peaks[left], peaks[right])
        if broken.any():
            raise RuntimeError(f"sum tree is broken at nodes {inner[broken][:8].tolist()}")
        if not np.array_equal(peaks[self.num_leaves :], self.mass):
            raise RuntimeError("sum tree is broken: the two trees have different leaves")
        if self.num_positive != np.count_nonzero(self.mass):
            raise RuntimeError(f"sum tree is broken: num_positive is {self.num_positive}")

    def _check(self, leaf: np.ndarray, mass: np.ndarray) -> None:
        if len(leaf) and not (leaf.min() >= 0 and leaf.max() < self.num_leaves):
            raise ValueError(
                f"leaf must be in [0, {self.num_leaves}), got {leaf.min()}..{leaf.max()}"
            )
        if len(mass) and not (mass.min() >= 0 and mass.max() < np.inf):
            raise ValueError(f"mass must be finite and >= 0, got {mass.min()}..{mass.max()}")


@compiled
def _set_many(sums: np.ndarray, peaks: np.ndarray, leaf: np.ndarray, mass: np.ndarray) -> int:
    num_leaves = len(sums) // 2
    gained = 0
    for i in range(len(leaf)):
        node = leaf[i] + num_leaves
        gained += int(mass[i] > 0.0) - int(sums[node] > 0.0)
        sums[node] = mass[i]
        peaks[node] = mass[i]
        node //= 2
        while node >= 1:  # recomputed, not added to: no rounding error piles up
            sums[node] = sums[2 * node] + sums[2 * node + 1]
            peaks[node] = max(peaks[2 * node], peaks[2 * node + 1])
            node //= 2
    return gained


@compiled
def _rebuild(sums: np.ndarray, peaks: np.ndarray) -> None:
    for node in range(len(sums) // 2 - 1, 0, -1):
        sums[node] = sums[2 * node] + sums[2 * node + 1]
        peaks[node] = max(peaks[2 * node], peaks[2 * node + 1])


@compiled
def _descend(sums: np.ndarray, unit: np.ndarray) -> np.ndarray:
    num_leaves = len(sums) // 2
    leaf = np.empty(len(unit), np.int64)
    for i in range(len(unit)):
        rest = unit[i] * sums[1]
        node = 1
        while node < num_leaves:
            left = sums[2 * node]
            # Rounding can leave `rest` at the very end: never step into an empty half.
            if rest < left or sums[2 * node + 1] == 0.0:
                node = 2 * node
            else:
                rest -= left
                node = 2 * node + 1
        leaf[i] = node - num_leaves
    return leaf

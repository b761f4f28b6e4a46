"""Random numbers as pure functions of a seed: no hidden state, so nothing to save or to lose.

Search and reanalyse draw from a counter-based generator (SplitMix64) inside compiled code;
everything else takes `numpy.random.default_rng([seed, stream, counter])`.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX1 = np.uint64(0xBF58476D1CE4E5B9)
MIX2 = np.uint64(0x94D049BB133111EB)
EPISODES_PER_RUNNER = 2**40  # numbers of the episodes of env runner i start at i times this


class Stream(IntEnum):
    """One number per use, so that no two uses share their random numbers."""

    ACT = 1
    EPISODE = 2
    REPLAY = 3
    REANALYSE = 4
    TARGETS = 5
    AUGMENT = 6
    MODEL = 7
    EVALUATE = 8
    SERVE = 9


def generator(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """A fresh generator for one use at one time: same arguments, same numbers."""
    return np.random.default_rng([seed & 0xFFFFFFFF, int(stream), *counters])


def search_seeds(seed: int, stream: Stream, counters: np.ndarray) -> np.ndarray:
    """One 64-bit seed per root.

    Args:
        seed: of the run.
        stream: what the seeds are for.
        counters: [B] or [B, n] i64, what tells one root from every other.

    Returns:
        [B] u64.
    """
    columns = np.atleast_2d(np.asarray(counters).T).T.astype(np.uint64)  # [B, n]
    start = np.uint64(seed & 0xFFFFFFFF) * np.uint64(2**16) + np.uint64(int(stream))
    return _combine(np.full(len(columns), start, np.uint64), columns)


def episode_seeds(seed: int, stream: Stream, count: int, *, start: int = 0) -> list[int]:
    """Seeds for `count` environment episodes, numbered from `start`; each fits 31 bits."""
    drawn = search_seeds(seed, stream, np.arange(start, start + count))
    return [int(value >> np.uint64(33)) for value in drawn]


def evaluation_seeds(seed: int, count: int, *, runner: int = 1) -> list[int]:
    """Seeds of the first `count` evaluation episodes: the same at every evaluation of a run."""
    first = runner * EPISODES_PER_RUNNER
    return episode_seeds(seed, Stream.EVALUATE, count, start=first)


@njit("uint64(uint64)", cache=True, nogil=True)
def mix(x: int) -> int:
    """SplitMix64's finaliser: u64 to u64, every input bit moves every output bit."""
    x = np.uint64(x) + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * MIX1
    x = (x ^ (x >> np.uint64(27))) * MIX2
    return x ^ (x >> np.uint64(31))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _combine(seeds: np.ndarray, columns: np.ndarray) -> np.ndarray:
    out = np.empty_like(seeds)
    for row in range(len(seeds)):
        state = mix(seeds[row])
        for column in range(columns.shape[1]):
            state = mix(state ^ columns[row, column])
        out[row] = state
    return out


@njit("float64(uint64)", cache=True, nogil=True)
def uniform(x: int) -> float:
    """A well-mixed u64 to a float in (0, 1), never 0 or 1."""
    # 52 bits: with 53 the half would round the largest up to 1.
    return (float(np.uint64(x) >> np.uint64(12)) + 0.5) * (1.0 / 4503599627370496.0)


@njit(cache=True, nogil=True)
def _gamma(state: int, shape: float) -> tuple[float, int]:
    """One draw of Gamma(shape, 1) after Marsaglia and Tsang (2000), and the state after it."""
    boost = 1.0
    if shape < 1.0:
        state = mix(state)
        boost = math.exp(math.log(uniform(state)) / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        first = mix(state)
        second = mix(first)
        state = mix(second)
        normal = math.sqrt(-2.0 * math.log(uniform(first))) * math.cos(
            2.0 * math.pi * uniform(second)
        )
        v = (1.0 + c * normal) ** 3
        if v > 0.0 and math.log(uniform(state)) < 0.5 * normal**2 + d - d * v + d * math.log(v):
            return boost * d * v, state


@njit(cache=True, nogil=True)
def dirichlet(seeds: np.ndarray, legal: np.ndarray, alpha: float) -> np.ndarray:
    """Draws Dirichlet(alpha) over the legal actions of each root.

    Args:
        seeds: [B] u64.
        legal: [B, A] bool, at least one per row.
        alpha: concentration, > 0.

    Returns:
        [B, A] f64, rows sum to 1, 0 where illegal. Row b depends on seeds[b], legal[b] only.
    """
    noise = np.zeros(legal.shape)
    for row in range(len(seeds)):
        state = mix(seeds[row])
        total = 0.0
        for action in range(legal.shape[1]):
            if legal[row, action]:
                draw, state = _gamma(state, alpha)
                noise[row, action] = draw + 1e-300  # all draws may underflow at a tiny alpha
                total += noise[row, action]
        noise[row] /= total
    return noise

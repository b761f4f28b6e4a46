"""How the roots of a batch are to be tried, and what is concluded about them.

Axes: B roots, A actions, S simulations.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.random import dirichlet, mix, uniform

TINY = 1e-30  # a prior of 0 counts as this much


class Plan(NamedTuple):
    """What each root is given before its search."""

    budget: np.ndarray  # [B] i32, simulations, falling from row to row
    legal: np.ndarray  # [B, A] bool, at the root; deeper every action is
    seed: np.ndarray  # [B] u64, breaks ties
    gumbel: np.ndarray  # [B, A] f64, Gumbel noise + log P(a); not looked at by PUCT
    schedule: np.ndarray  # [B, S] i32, see `halving_schedule`; 0 for PUCT

    @classmethod
    def of(
        cls,
        config: SearchConfig,
        prior: np.ndarray,
        *,
        budget: np.ndarray,
        legal: np.ndarray,
        seed: np.ndarray,
        noise: bool,
    ) -> Plan:
        """The plan of roots with these priors [B, A], whose budgets [B] fall from row to row.

        `noise`: Gumbel's; Dirichlet's is in the prior already.
        """
        legal = np.ascontiguousarray(legal)
        schedule = np.zeros((len(budget), int(budget[0])), np.int32)
        if config.search_method != "gumbel":
            return cls(budget, legal, seed, np.zeros(legal.shape), schedule)
        gumbel = np.log(np.maximum(prior, TINY).astype(np.float64))
        if noise:
            gumbel += gumbel_noise(seed, legal.shape[1])
        num_legal = legal.sum(axis=1)
        for row in range(len(budget)):
            most = min(config.max_considered_actions, int(num_legal[row]))
            schedule[row, : budget[row]] = halving_schedule(int(budget[row]), most)
        return cls(budget, legal, seed, gumbel, schedule)


class Conclusion(NamedTuple):
    """What one search concluded about each root."""

    action: np.ndarray  # [B] i64, to play
    policy: np.ndarray  # [B, A] f32, to teach
    visit_counts: np.ndarray  # [B, A] i32
    root_value: np.ndarray  # [B] f32, mean over the network's value and every return

    @classmethod
    def blank(cls, batch: int, actions: int) -> Conclusion:
        """Room for B conclusions."""
        return cls(
            np.zeros(batch, np.int64),
            np.zeros((batch, actions), np.float32),
            np.zeros((batch, actions), np.int32),
            np.zeros(batch, np.float32),
        )


@lru_cache(maxsize=4096)
def halving_schedule(num_simulations: int, num_actions: int) -> np.ndarray:
    """Which visit count the action tried at each simulation must have so far.

    In each of ceil(log2 m) phases the c actions still considered get
    max(1, floor(n / (phases * c))) more visits each, then the better half stays, at least 2;
    m = min(num_actions, num_simulations) at the start.

    Returns:
        [num_simulations] i32, not to be written to.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2.
    """
    considered, visits = min(num_actions, num_simulations), 0
    if considered == 1:
        return np.arange(num_simulations, dtype=np.int32)
    phases = math.ceil(math.log2(considered))
    schedule: list[int] = []
    while len(schedule) < num_simulations:
        extra = max(1, num_simulations // (phases * considered))
        for _ in range(extra):
            schedule += [visits] * considered
            visits += 1
        considered = max(2, considered // 2)
    return np.array(schedule[:num_simulations], np.int32)


@njit(cache=True, nogil=True)
def gumbel_noise(seeds: np.ndarray, num_actions: int) -> np.ndarray:
    """[B, A] f64: -log(-log(u)), row b a function of seeds[b] alone."""
    noise = np.empty((len(seeds), num_actions))
    for row in range(len(seeds)):
        state = seeds[row]
        for action in range(num_actions):
            state = mix(state)
            noise[row, action] = -math.log(-math.log(uniform(state)))
    return noise


def root_prior(
    prior: np.ndarray, legal: np.ndarray, *, config: SearchConfig, seeds: np.ndarray, noise: bool
) -> np.ndarray:
    """The network's policy [B, A] over legal actions, with Dirichlet noise where asked for.

    P(a) = (1 - fraction) * policy(a) + fraction * Dirichlet(alpha)(a)
    """
    fraction = config.root_noise_fraction if noise else 0.0
    drawn = dirichlet(seeds, legal, config.root_dirichlet_alpha) if noise else np.zeros((0, 0))
    return _mixed_prior(prior, legal, drawn, fraction)


@njit(cache=True, nogil=True)
def _mixed_prior(
    prior: np.ndarray, legal: np.ndarray, drawn: np.ndarray, fraction: float
) -> np.ndarray:
    out = np.zeros(prior.shape, np.float32)
    for row in range(prior.shape[0]):
        total, allowed = 0.0, 0
        for action in range(prior.shape[1]):
            if legal[row, action]:
                total += prior[row, action]
                allowed += 1
        for action in range(prior.shape[1]):
            if legal[row, action]:
                # Where the network gives no legal action a chance, all are alike.
                share = prior[row, action] / total if total > 0.0 else 1.0 / allowed
                if fraction > 0.0:
                    share = (1.0 - fraction) * share + fraction * drawn[row, action]
                out[row, action] = share
    return out

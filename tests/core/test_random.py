from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.random import (
    Stream,
    dirichlet,
    episode_seeds,
    generator,
    mix,
    search_seeds,
    uniform,
)

LARGEST = np.uint64(2**64 - 1)


def rows_of_noise(count: int, num_actions: int, alpha: float) -> np.ndarray:
    seeds = search_seeds(1, Stream.ACT, np.arange(count))
    return dirichlet(seeds, np.ones((count, num_actions), bool), alpha)


@pytest.mark.parametrize(
    ("state", "drawn"),
    # the published first numbers of SplitMix64 started at 0
    [(0, 0xE220A8397B1DCDAF), (0x9E3779B97F4A7C15, 0x6E789E6AA1B965F4)],
)
def test_mix_gives_the_published_numbers(state: int, drawn: int):
    assert int(mix(np.uint64(state))) == drawn


@pytest.mark.parametrize("x", [np.uint64(0), LARGEST])
def test_uniform_is_never_zero_or_one(x: np.uint64):
    assert 0.0 < uniform(x) < 1.0


def test_uniform_fills_the_interval_evenly():
    drawn = [uniform(seed) for seed in search_seeds(0, Stream.ACT, np.arange(20_000))]
    counts, _ = np.histogram(drawn, bins=10, range=(0, 1))
    np.testing.assert_allclose(counts / 20_000, 0.1, atol=0.01)


def test_a_seed_depends_on_its_own_counter_alone():
    alone = search_seeds(3, Stream.REANALYSE, np.array([[7, 9]]))
    among = search_seeds(3, Stream.REANALYSE, np.array([[1, 2], [7, 9], [5, 5]]))
    assert alone[0] == among[1]


def test_a_column_of_counters_may_be_flat():
    flat = search_seeds(3, Stream.ACT, np.array([4, 5]))
    column = search_seeds(3, Stream.ACT, np.array([[4], [5]]))
    np.testing.assert_array_equal(flat, column)


def test_counters_are_told_apart_by_place():
    one, other = search_seeds(0, Stream.ACT, np.array([[1, 2], [2, 1]]))
    assert one != other


def test_seeds_of_many_roots_are_all_different():
    grid = np.stack(np.meshgrid(np.arange(300), np.arange(300)), axis=-1).reshape(-1, 2)
    assert len(np.unique(search_seeds(0, Stream.ACT, grid))) == 90_000


def test_streams_and_run_seeds_do_not_share_numbers():
    counters = np.arange(1000)
    drawn = [search_seeds(seed, stream, counters) for seed in (0, 1, 2**31) for stream in Stream]
    assert len(np.unique(np.concatenate(drawn))) == 3 * len(Stream) * 1000


def test_generator_is_a_function_of_its_arguments():
    first = generator(1, Stream.REPLAY, 5).random(4)
    np.testing.assert_array_equal(first, generator(1, Stream.REPLAY, 5).random(4))
    for other in (
        generator(2, Stream.REPLAY, 5),
        generator(1, Stream.TARGETS, 5),
        generator(1, Stream.REPLAY, 6),
    ):
        assert not np.array_equal(first, other.random(4))


def test_episode_seeds_fit_31_bits():
    seeds = episode_seeds(0, Stream.EPISODE, 1000)
    assert 0 <= min(seeds) < 2**28
    assert 2**30 < max(seeds) < 2**31


def test_episode_seeds_go_on_where_they_stopped():
    assert episode_seeds(4, Stream.EPISODE, 6)[2:] == episode_seeds(4, Stream.EPISODE, 4, start=2)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_dirichlet_has_the_moments_of_the_formula(alpha: float):
    """mean 1/A, variance (1/A)(1 - 1/A) / (A alpha + 1)."""
    noise = rows_of_noise(40_000, 4, alpha)
    np.testing.assert_allclose(noise.mean(axis=0), 0.25, atol=0.006)
    np.testing.assert_allclose(noise.var(axis=0), 0.1875 / (4 * alpha + 1), rtol=0.04)


def test_dirichlet_is_spread_as_numpys_is():
    ours = np.sort(rows_of_noise(40_000, 3, 0.3)[:, 1])
    numpys = np.sort(np.random.default_rng(0).dirichlet([0.3] * 3, 40_000)[:, 1])
    np.testing.assert_allclose(ours[::400], numpys[::400], atol=0.02)


def test_dirichlet_sums_to_one_over_legal_actions():
    legal = np.array([[True, False, True], [False, True, False]])
    noise = dirichlet(np.array([1, 2], np.uint64), legal, 0.3)
    np.testing.assert_allclose(noise.sum(axis=1), 1)
    assert (noise[~legal] == 0).all()
    assert (noise[legal] > 0).all()


def test_dirichlet_row_depends_on_its_own_seed_alone():
    seeds, legal = np.array([11, 12, 13], np.uint64), np.ones((3, 4), bool)
    alone = dirichlet(seeds[1:2], legal[1:2], 0.3)
    np.testing.assert_array_equal(dirichlet(seeds, legal, 0.3)[1], alone[0])


def test_dirichlet_with_a_tiny_concentration_is_still_a_distribution():
    np.testing.assert_allclose(rows_of_noise(200, 6, 1e-4).sum(axis=1), 1)

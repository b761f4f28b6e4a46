"""Tests of the sum tree."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.replay.sum_tree import SumTree


def tree_of(*mass: float) -> SumTree:
    tree = SumTree(len(mass))
    tree.set(np.arange(len(mass)), np.array(mass))
    return tree


def test_inner_nodes_are_the_sums_of_their_children():
    tree = tree_of(1.0, 2.0, 3.0, 4.0)
    np.testing.assert_array_equal(tree._sums[1:], [10.0, 3.0, 7.0, 1.0, 2.0, 3.0, 4.0])


def test_maximum_falls_when_its_leaf_does():
    tree = tree_of(1.0, 5.0, 3.0)
    tree.set(np.array([1]), np.array([0.5]))
    assert tree.max_mass == 3.0


def test_draws_fall_where_the_running_sum_passes():
    tree = tree_of(1.0, 2.0, 3.0, 4.0)
    leaf = tree.sample(np.array([0.0, 0.09, 0.1, 0.29, 0.3, 0.59, 0.6, 0.999]))
    np.testing.assert_array_equal(leaf, [0, 0, 1, 1, 2, 2, 3, 3])


def test_leaf_of_mass_zero_is_never_drawn():
    tree = tree_of(0.0, 1e-300, 0.0, 0.1, 0.0)
    places = np.concatenate([np.linspace(0, 1, 101), [np.nextafter(1, 0), 1.0]])
    assert set(tree.sample(places).tolist()) <= {1, 3}


def test_very_end_of_the_total_draws_the_last_leaf_with_mass():
    assert tree_of(1.0, 2.0, 0.0, 0.0).sample(np.array([1.0])).tolist() == [1]


def test_tree_of_one_leaf_draws_it():
    np.testing.assert_array_equal(tree_of(0.3).sample(np.array([0.0, 0.9])), [0, 0])


def test_last_of_two_masses_for_one_leaf_counts():
    tree = SumTree(3)
    tree.set(np.array([1, 1]), np.array([4.0, 2.0]))
    assert (tree.total, tree.max_mass, tree.num_positive) == (2.0, 2.0, 1)


@pytest.mark.parametrize("num_leaves", [1, 2, 3, 7, 8, 13])
def test_random_changes_agree_with_a_plain_array(num_leaves: int):
    rng = np.random.default_rng(num_leaves)
    tree, twin = SumTree(num_leaves), np.zeros(num_leaves)
    for _ in range(50):
        leaf = rng.integers(num_leaves, size=4)
        mass = rng.random(4) * rng.integers(2, size=4)
        tree.set(leaf, mass)
        for i in range(4):
            twin[leaf[i]] = mass[i]
        tree.check_valid()
        np.testing.assert_array_equal(tree.mass, twin)
        np.testing.assert_allclose(tree.total, twin.sum(), rtol=1e-12)
        assert (tree.max_mass, tree.num_positive) == (twin.max(), np.count_nonzero(twin))


def test_restored_tree_is_the_same_bit_for_bit():
    rng = np.random.default_rng(0)
    tree, twin = SumTree(13), SumTree(13)
    for _ in range(20):
        tree.set(rng.integers(9, size=5), rng.random(5))
    twin.set(np.arange(13), np.ones(13))
    twin.restore(tree.mass[:9])
    np.testing.assert_array_equal(twin._sums, tree._sums)
    np.testing.assert_array_equal(twin._peaks, tree._peaks)


def test_draws_are_as_frequent_as_their_mass():
    mass = np.array([1.0, 0.0, 4.0, 2.0, 3.0])
    rng = np.random.default_rng(1)
    drawn = np.bincount(tree_of(*mass).sample(rng.random(100_000)), minlength=5)
    expected = 100_000 * mass / 10
    chi_square = ((drawn - expected)[mass > 0] ** 2 / expected[mass > 0]).sum()
    assert drawn[1] == 0
    assert chi_square < 16.3  # 0.1% of true draws with 3 degrees of freedom are above


def test_changed_inner_node_is_found():
    tree = tree_of(1.0, 2.0, 3.0)
    tree._sums[1] += 1e-9
    with pytest.raises(RuntimeError, match="broken at nodes"):
        tree.check_valid()


@pytest.mark.parametrize("mass", [-1.0, np.nan, np.inf])
def test_impossible_mass_is_rejected(mass: float):
    with pytest.raises(ValueError, match="mass must be finite"):
        SumTree(2).set(np.array([0, 1]), np.array([1.0, mass]))


@pytest.mark.parametrize("leaf", [-1, 2])
def test_leaf_outside_the_tree_is_rejected(leaf: int):
    with pytest.raises(ValueError, match=r"leaf must be in \[0, 2\)"):
        SumTree(2).set(np.array([leaf]), np.ones(1))


def test_empty_tree_refuses_to_draw():
    with pytest.raises(ValueError, match="total must be > 0"):
        SumTree(2).sample(np.zeros(1))

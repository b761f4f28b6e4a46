from __future__ import annotations

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from rllib_ez.core.gpu import kernels
from rllib_ez.core.gpu.search import DeviceSearch
from rllib_ez.core.search import gumbel, nodes
from rllib_ez.core.search.kernels import conclude_row, select_row
from tests.core.gpu.tables import TableNetwork, both
from tests.core.search.worlds import random_world

SHARED = [select_row, conclude_row, nodes.expand_row, gumbel.score_by_gumbel]


@pytest.mark.parametrize("function", SHARED, ids=lambda f: f.__name__)
def test_the_device_form_is_the_same_code(function):
    assert kernels.on_device(function).py_func.__code__ is function.py_func.__code__


@pytest.mark.parametrize("function", SHARED, ids=lambda f: f.__name__)
def test_the_device_form_calls_device_forms_only(function):
    plain = kernels.on_device(function).py_func
    called = [plain.__globals__.get(name) for name in plain.__code__.co_names]
    assert not any(isinstance(value, Dispatcher) for value in called)


def test_the_form_for_the_cpu_still_calls_its_own():
    kernels.on_device(select_row)
    assert isinstance(select_row.py_func.__globals__["best_action"], Dispatcher)


@pytest.mark.gpu
def test_products_and_sums_are_rounded_one_by_one(device):
    """As on the CPU: contracted, they would decide near ties otherwise."""
    world = random_world(np.random.default_rng(0), num_states=5, num_actions=3, num_levels=None)
    ours = DeviceSearch(TableNetwork(world, device), device)
    both(world, [0], ours, num_simulations=np.array([2]))
    for code in kernels.expand.inspect_asm().values():
        assert "mul.rn.f64" in code
        assert "fma" not in code

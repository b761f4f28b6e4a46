"""Tests of the memory budget."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay import memory
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.core.replay.memory import available_bytes, check_fits, estimate_bytes
from rllib_ez.errors import MemoryBudgetError, SettingError

VECTOR = SlotLayout((4,), np.dtype(np.float32), 2)
PIXEL = SlotLayout((96, 96, 3), np.dtype(np.uint8), 6)


def test_bytes_of_a_position_are_all_counted():
    numbers = 4 + 4 + 4 + 4 * 8 + 1 + 1  # action reward root_value, four i64, kind context
    assert VECTOR.bytes_per_position() == 4 * 4 + 4 * 2 + numbers + 32
    assert PIXEL.bytes_per_position() == 96 * 96 * 3 + 4 * 6 + numbers + 32


def test_capacity_is_what_the_budget_holds():
    config = ReplayConfig(replay_bytes=10 * 102 - 1)
    estimate = estimate_bytes(config, VECTOR)
    assert (estimate.bytes_per_position, estimate.capacity, estimate.total_bytes) == (102, 9, 918)


def test_capacity_is_never_above_the_setting():
    assert estimate_bytes(ReplayConfig(replay_capacity=5), VECTOR).capacity == 5


def test_what_others_keep_per_slot_is_counted():
    config = ReplayConfig(replay_bytes=2040)
    assert estimate_bytes(config, VECTOR, extra_bytes_per_slot=102).capacity == 10


def test_arrays_stay_within_the_budget(make_replay):
    replay = make_replay(10**9, replay_bytes=100_000, frame_shape=(8, 8, 1), frame_dtype=np.uint8)
    each = replay.memory.bytes_per_position
    assert replay.nbytes == replay.capacity * each
    assert 100_000 - each < replay.nbytes <= 100_000


def test_budget_below_one_position_is_rejected():
    with pytest.raises(SettingError, match="at least one position of 102 bytes, got 101"):
        estimate_bytes(ReplayConfig(replay_bytes=101), VECTOR)


def test_replay_larger_than_free_memory_is_refused_with_the_numbers():
    with pytest.raises(MemoryBudgetError, match=r"4.00 GiB.*2.00 GiB.*at most 1932735283"):
        check_fits(4 * 2**30, 2 * 2**30)


def test_replay_that_fits_passes():
    check_fits(900, 1000)


def test_the_machine_knows_its_free_memory():
    free = available_bytes()
    assert free is not None
    assert 2**20 < free < 2**50


def test_limit_of_the_container_is_seen(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50\n")
    assert memory._cgroup_bytes(tmp_path) == 350


def test_container_without_a_limit_sets_none(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup_bytes(tmp_path) is None

"""Tests that unchanged blocks are shared between saves; `test_shared_saves.py` adds chance."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from rllib_ez.core.replay import layout
from rllib_ez.core.replay.layout import SlotLayout
from rllib_ez.errors import CheckpointError


@pytest.fixture(autouse=True)
def _blocks_of_four(monkeypatch):
    monkeypatch.setattr(layout, "MIN_BLOCK_SLOTS", 4)
    monkeypatch.setattr(layout, "BLOCK_BYTES", 1)


@pytest.fixture
def replay(make_replay, make_segment):
    """Slots 0-12 of 32: a whole episode in blocks 0, 1 and an open one in blocks 1-3."""
    replay = make_replay()
    replay.add([make_segment(1, 0, 5, end="terminated"), make_segment(2, 0, 7)])
    return replay


def blocks(folder) -> list[str]:
    return [entry[0] for entry in json.loads((folder / "replay.json").read_text())["blocks"]]


def is_shared(folder) -> list[bool]:
    return [(folder / name).stat().st_nlink == 2 for name in blocks(folder)]


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_holds(folder, state, make_replay) -> None:
    twin = make_replay(state["capacity"])
    twin.load(folder)
    np.testing.assert_equal(twin.get_state(), state)


def test_blocks_are_of_some_megabytes(monkeypatch):
    monkeypatch.undo()
    pixels = SlotLayout((96, 96, 3), np.dtype(np.uint8), 6)
    assert pixels.block_slots() == 2**24 // (96 * 96 * 3 + 4 * 6 + 4 + 4 + 4 + 8)
    assert SlotLayout((512, 512, 1), np.dtype(np.uint8), 6).block_slots() == 256


def test_unchanged_blocks_are_shared_and_changed_ones_written(
    replay, make_segment, make_replay, tmp_path
):
    replay.save(tmp_path / "a")
    replay.add([make_segment(2, 7, 9)])  # slots 13, 14
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True, True, True, False]
    for name in blocks(tmp_path / "b")[:3]:
        assert os.path.samefile(tmp_path / "a" / name, tmp_path / "b" / name)
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_report_counts_every_byte(replay, make_segment, tmp_path):
    first = replay.save(tmp_path / "a")
    replay.add([make_segment(2, 7, 9)])
    second = replay.save(tmp_path / "b")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "b").iterdir()}
    shared = sum(sizes[name] for name in blocks(tmp_path / "b")[:3])
    assert first.bytes_linked == 0
    assert second.bytes_linked == shared
    assert second.bytes_written == sum(sizes.values()) - shared


def test_priorities_alone_change_no_block(replay, tmp_path):
    replay.save(tmp_path / "a")
    replay.update_priorities(np.array([0]), np.array([1]), np.array([9.0]))
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True] * 4


def test_closing_writes_the_block_of_the_end(replay, make_segment, make_replay, tmp_path):
    replay.add([make_segment(3, 0, 4)])  # slots 13-16; episode 2 ends in slot 12
    replay.save(tmp_path / "a")
    replay.close_episodes([2])
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True, True, True, False, True]
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_overwritten_blocks_are_written(replay, make_segment, make_replay, tmp_path):
    replay.add([make_segment(2, 7, 26)])  # up to slot 31
    replay.save(tmp_path / "a")
    replay.add([make_segment(2, 26, 31)])  # slots 0-4
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [False, False] + [True] * 6
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_later_save_is_whole_without_the_earlier(replay, make_segment, make_replay, tmp_path):
    replay.save(tmp_path / "a")
    replay.add([make_segment(2, 7, 9)])
    replay.save(tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


@pytest.mark.parametrize("later", ["a", "c"], ids=["over the first", "elsewhere"])
def test_earlier_save_stays_as_it_was(replay, make_segment, tmp_path, later):
    replay.save(tmp_path / "a")
    replay.save(tmp_path / "b")
    before = content(tmp_path / "b")
    replay.add([make_segment(2, 7, 30)])
    replay.close_episodes([2])
    replay.save(tmp_path / later)
    assert content(tmp_path / "b") == before


def test_save_over_the_same_folder_keeps_only_what_it_needs(
    replay, make_segment, make_replay, tmp_path
):
    replay.save(tmp_path)
    first = blocks(tmp_path)
    replay.add([make_segment(2, 7, 9)])
    (tmp_path / "000000-0123456789abcdef.block.draft").write_bytes(b"left by a kill")
    report = replay.save(tmp_path)
    assert blocks(tmp_path)[:3] == first[:3]
    assert report.bytes_linked > 0
    assert {p.name for p in tmp_path.glob("*.block*")} == set(blocks(tmp_path))
    assert_holds(tmp_path, replay.get_state(), make_replay)


def test_first_save_after_a_load_shares_its_blocks(replay, make_replay, make_segment, tmp_path):
    replay.save(tmp_path / "a")
    resumed = make_replay()
    resumed.load(tmp_path / "a")
    resumed.add([make_segment(2, 7, 9)])
    resumed.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True, True, True, False]
    assert_holds(tmp_path / "b", resumed.get_state(), make_replay)


def test_moved_save_is_found_where_it_was_said_to_be(replay, make_replay, tmp_path):
    replay.save(tmp_path / "draft")
    (tmp_path / "draft").rename(tmp_path / "a")
    replay.saved_as(tmp_path / "a")
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True] * 4


def test_place_of_a_save_that_never_was_is_no_matter(replay, make_replay, tmp_path):
    replay.saved_as(tmp_path / "a")
    assert replay.save(tmp_path / "b").bytes_linked == 0


def test_moved_save_that_was_not_told_of_is_written_whole(replay, make_replay, tmp_path):
    replay.save(tmp_path / "draft")
    (tmp_path / "draft").rename(tmp_path / "a")
    assert replay.save(tmp_path / "b").bytes_linked == 0
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_block_cut_short_in_the_earlier_save_is_written_anew(replay, make_replay, tmp_path):
    replay.save(tmp_path / "a")
    path = tmp_path / "a" / blocks(tmp_path / "a")[1]
    path.write_bytes(path.read_bytes()[:-1])
    replay.save(tmp_path / "b")
    assert is_shared(tmp_path / "b") == [True, False, True, True]
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_block_cut_short_in_the_same_folder_is_written_anew(replay, make_replay, tmp_path):
    replay.save(tmp_path)
    path = tmp_path / blocks(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-1])
    replay.save(tmp_path)
    assert not path.exists()
    assert_holds(tmp_path, replay.get_state(), make_replay)


def test_without_hard_links_everything_is_written(replay, make_replay, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    replay.save(tmp_path / "a")
    assert replay.save(tmp_path / "b").bytes_linked == 0
    assert is_shared(tmp_path / "b") == [False] * 4
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)


def test_another_replay_in_the_same_folder_is_never_shared(
    replay, make_replay, make_segment, tmp_path
):
    other = make_replay()
    other.add([make_segment(8, 0, 5, end="terminated"), make_segment(9, 0, 7)])
    replay.save(tmp_path / "a")
    other.save(tmp_path / "a")
    replay.save(tmp_path / "b")
    assert_holds(tmp_path / "b", replay.get_state(), make_replay)
    assert_holds(tmp_path / "a", other.get_state(), make_replay)


def test_state_that_was_set_is_written_whole(replay, make_replay, make_segment, tmp_path):
    other = make_replay()
    other.add([make_segment(8, 0, 5, end="terminated"), make_segment(9, 0, 7)])
    replay.save(tmp_path / "a")
    replay.set_state(other.get_state())
    assert replay.save(tmp_path / "b").bytes_linked == 0
    assert_holds(tmp_path / "b", other.get_state(), make_replay)


def test_blocks_of_another_size_are_read_and_then_written_anew(
    replay, make_replay, make_segment, tmp_path, monkeypatch
):
    replay.add([make_segment(2, 7, 23)])  # slots 13-28: 8 blocks of four
    replay.save(tmp_path / "a")
    monkeypatch.setattr(layout, "MIN_BLOCK_SLOTS", 5)
    resumed = make_replay()
    resumed.load(tmp_path / "a")
    resumed.add([make_segment(2, 23, 24)])  # block 5 gets stamp 1, as another block 5 had
    assert resumed.save(tmp_path / "b").bytes_linked == 0
    assert len(blocks(tmp_path / "b")) == 6
    assert_holds(tmp_path / "b", resumed.get_state(), make_replay)


def test_save_before_a_load_that_failed_is_not_shared(replay, make_replay, make_segment, tmp_path):
    replay.save(tmp_path / "a")
    state = replay.get_state()
    state["prev_slot"][5] = 17
    with pytest.raises(CheckpointError, match="state is damaged"):
        replay.set_state(state)
    replay.add([make_segment(8, 0, 5, end="terminated"), make_segment(9, 0, 7)])
    assert replay.save(tmp_path / "b").bytes_linked == 0

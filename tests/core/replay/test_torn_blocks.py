"""Tests that half a save, or one that was tampered with, is never taken for a whole one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rllib_ez.core.replay import layout
from rllib_ez.errors import CheckpointError


@pytest.fixture
def replay(make_replay, make_segment, monkeypatch):
    """13 positions in blocks of four slots."""
    monkeypatch.setattr(layout, "MIN_BLOCK_SLOTS", 4)
    monkeypatch.setattr(layout, "BLOCK_BYTES", 1)
    replay = make_replay()
    replay.add([make_segment(1, 0, 5, end="terminated"), make_segment(2, 0, 7)])
    return replay


def blocks(folder) -> list[str]:
    return [entry[0] for entry in json.loads((folder / "replay.json").read_text())["blocks"]]


@pytest.mark.parametrize("calls", range(5))
def test_save_killed_between_blocks_does_not_load(
    replay, make_replay, tmp_path, monkeypatch, calls
):
    save, left = np.save, [None] * (6 * calls)  # six columns a block
    monkeypatch.setattr(np, "save", lambda *args, **kw: (left.pop(), save(*args, **kw)))
    with pytest.raises(IndexError):
        replay.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == calls
    with pytest.raises(CheckpointError, match=r"missing a file: .*replay.json"):
        make_replay().load(tmp_path)


def test_missing_block_is_told_by_name(replay, make_replay, tmp_path):
    replay.save(tmp_path)
    (tmp_path / blocks(tmp_path)[2]).unlink()
    with pytest.raises(CheckpointError, match=r"missing a file: .*000002-.*\.block"):
        make_replay().load(tmp_path)


def test_torn_block_is_refused_before_anything_changes(replay, tmp_path):
    replay.save(tmp_path)
    path = tmp_path / blocks(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-20])
    before = replay.get_state()
    with pytest.raises(CheckpointError, match=r"is torn: 000002-.* must be of \d+ bytes"):
        replay.load(tmp_path)
    np.testing.assert_equal(replay.get_state(), before)


def test_index_that_names_too_few_blocks_is_refused(replay, make_replay, tmp_path):
    replay.save(tmp_path)
    index = json.loads((tmp_path / "replay.json").read_text())
    index["blocks"].pop()
    (tmp_path / "replay.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="3 blocks of 4 slots must hold 13"):
        make_replay().load(tmp_path)


def test_block_outside_the_folder_is_refused(replay, make_replay, tmp_path):
    replay.save(tmp_path / "a")
    text, name = (tmp_path / "a" / "replay.json").read_text(), blocks(tmp_path / "a")[1]
    (tmp_path / "a" / name).rename(tmp_path / name)
    (tmp_path / "a" / "replay.json").write_text(text.replace(name, f"../{name}"))
    with pytest.raises(CheckpointError, match=r"is torn: \.\./000001"):
        make_replay().load(tmp_path / "a")


@pytest.mark.parametrize("damage", [b"\0" * 8, b"\x93NUMPY\1\0"], ids=["no array", "no header"])
def test_damaged_block_is_refused_and_leaves_replay_empty(replay, tmp_path, damage):
    replay.save(tmp_path)
    path = tmp_path / blocks(tmp_path)[1]
    path.write_bytes(damage.ljust(path.stat().st_size, b"\0"))
    with pytest.raises(CheckpointError, match=r"000001-.*\.block is torn"):
        replay.load(tmp_path)
    assert (replay.num_positions, replay.num_sampleable, replay.open_episodes) == (0, 0, [])


def test_blocks_in_each_others_place_are_refused(replay, make_replay, tmp_path):
    replay.save(tmp_path)
    text = (tmp_path / "replay.json").read_text()
    index = json.loads(text)
    index["blocks"][0], index["blocks"][3] = index["blocks"][3], index["blocks"][0]
    (tmp_path / "replay.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"is torn: must be float32 \(4, 1\), got .*\(1, 1\)"):
        make_replay().load(tmp_path)

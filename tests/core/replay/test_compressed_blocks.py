"""Tests that images are compressed in blocks, and that no damage to them passes for an image."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest

from rllib_ez.core.replay import blocks as blocks_module
from rllib_ez.errors import CheckpointError

PIXELS = {"frame_shape": (32, 32, 3), "frame_dtype": np.uint8}


def images(make_segment, *, seed: int = 0):
    """A segment of 200 steps: a bright square that moves over black."""
    frames, rng = np.zeros((201, 32, 32, 3), np.uint8), np.random.default_rng(seed)
    for frame in frames:
        row, column = rng.integers(28, size=2)
        frame[row : row + 4, column : column + 4] = 255
    return make_segment(1, 0, 200, end="terminated", frames=frames)


@pytest.fixture
def replay(make_replay, make_segment):
    replay = make_replay(256, **PIXELS)
    replay.add([images(make_segment)])
    return replay


@pytest.fixture
def twin(make_replay):
    return make_replay(256, **PIXELS)


def index_of(folder):
    return json.loads((folder / "replay.json").read_text())


def rewrite_block(folder, change) -> None:
    """Changes the compressed frames of the only block, and every size and sum to match."""
    index = index_of(folder)
    path = folder / index["blocks"][0][0]
    stream = io.BytesIO(path.read_bytes())
    parts = [np.load(stream) for _ in index["columns"]]
    parts[0] = change(parts[0])
    stream = io.BytesIO()
    for part in parts:
        np.save(stream, part)
    path.write_bytes(stream.getvalue())
    index["blocks"][0][1] = len(stream.getvalue())
    index["blocks"][0][3] = zlib.crc32(stream.getvalue())
    (folder / "replay.json").write_text(json.dumps(index))


def test_images_are_compressed_and_come_back_exactly(replay, twin, tmp_path):
    report = replay.save(tmp_path)
    assert report.bytes_written < replay.frame[:200].nbytes / 20
    twin.load(tmp_path)
    np.testing.assert_equal(twin.get_state(), replay.get_state())


@pytest.mark.parametrize(
    ("column", "is_image"),
    [
        (np.zeros((4, 8, 8), np.uint8), True),
        (np.zeros((4, 8, 8, 3), np.uint8), True),
        (np.zeros((4, 128), np.uint8), False),
        (np.zeros((4, 8, 8), np.float32), False),
    ],
)
def test_only_bytes_in_two_dimensions_are_images(column, is_image):
    assert blocks_module.is_image(column) == is_image


def test_vector_observations_are_kept_as_they_are(make_replay, make_segment, tmp_path):
    replay = make_replay(256)
    replay.add([make_segment(1, 0, 200, end="terminated")])
    replay.save(tmp_path)
    assert index_of(tmp_path)["compressed"] == []


@pytest.mark.parametrize("place", [0, 3000, -1])
def test_a_flipped_byte_is_told(replay, twin, tmp_path, place):
    replay.save(tmp_path)
    path = tmp_path / index_of(tmp_path)["blocks"][0][0]
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is torn: its checksum must be \d+, got \d+"):
        twin.load(tmp_path)


def test_images_cut_short_are_told(replay, twin, tmp_path):
    replay.save(tmp_path)
    rewrite_block(tmp_path, lambda part: part[:-9])
    with pytest.raises(CheckpointError, match=r"\.block is torn"):
        twin.load(tmp_path)


def test_images_of_another_size_are_told(replay, twin, tmp_path):
    replay.save(tmp_path)
    fewer = blocks_module._compressed(np.zeros((2, 32, 32, 3), np.uint8))
    rewrite_block(tmp_path, lambda part: fewer)
    with pytest.raises(CheckpointError, match="must be 617,472 bytes when .*, got 6,144"):  # 201, 2
        twin.load(tmp_path)


def as_format_2(replay, folder, monkeypatch) -> None:
    """What was saved before there were compression and checksums."""
    with monkeypatch.context() as patch:
        patch.setattr(blocks_module, "is_image", lambda column: False)
        replay.save(folder)
    index = index_of(folder)
    index |= {"format": 2, "blocks": [entry[:3] for entry in index["blocks"]]}
    del index["compressed"]
    (folder / "replay.json").write_text(json.dumps(index))


def test_format_2_is_read_and_written_anew(replay, twin, tmp_path, monkeypatch):
    as_format_2(replay, tmp_path / "a", monkeypatch)
    twin.load(tmp_path / "a")
    np.testing.assert_equal(twin.get_state(), replay.get_state())
    assert twin.save(tmp_path / "b").bytes_linked == 0
    assert twin.save(tmp_path / "c").bytes_linked > 0
    replay.load(tmp_path / "c")
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_format_2_of_vectors_is_shared(make_replay, make_segment, tmp_path, monkeypatch):
    replay, twin = make_replay(256), make_replay(256)
    replay.add([make_segment(1, 0, 200, end="terminated")])
    as_format_2(replay, tmp_path / "a", monkeypatch)
    twin.load(tmp_path / "a")
    assert twin.save(tmp_path / "b").bytes_linked > 0
    replay.load(tmp_path / "b")
    np.testing.assert_equal(twin.get_state(), replay.get_state())

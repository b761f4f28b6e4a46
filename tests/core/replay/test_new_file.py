"""Tests that a file appears whole or not at all."""

from __future__ import annotations

import os

import pytest

from rllib_ez.core.replay.new_file import new_file


def test_file_appears_at_the_end(tmp_path):
    with new_file(tmp_path / "a") as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError, match="bytes-like"), new_file(tmp_path / "a") as file:
        file.writelines([b"n", None])
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("shared", ["a", "a.draft"], ids=["whole", "left by a kill"])
def test_shared_file_is_never_written_to(tmp_path, shared):
    (tmp_path / shared).write_bytes(b"old")
    os.link(tmp_path / shared, tmp_path / "elsewhere")
    with new_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"

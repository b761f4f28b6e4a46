"""Frames gathered from a device's copy are those of the host. The device here is the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.target_cache import TargetCache

CPU = torch.device("cpu")


def fill(replay, make_segment, rng: np.random.Generator, *, first: int = 0) -> None:
    """Episodes in pieces, more than fit: slots are overwritten."""
    for episode in range(first, first + 6):
        cut, end = 1 + rng.integers(4), 6 + rng.integers(6)
        replay.add([make_segment(episode, 0, cut)])
        replay.add([make_segment(episode, cut, end, end="terminated")])


def drawn(replay, seed: int = 0) -> np.ndarray:
    return np.asarray(replay.sample(16, rng=np.random.default_rng(seed), update=0).frames)


@pytest.mark.parametrize("seed", range(5))
def test_a_mirrored_replay_draws_what_a_plain_one_draws(make_replay, make_segment, seed):
    plain, mirrored = make_replay(frame_stack=2), make_replay(frame_stack=2)
    mirrored.mirror_frames(CPU)
    for first in (0, 6):
        for replay in (plain, mirrored):
            fill(replay, make_segment, np.random.default_rng(seed), first=first)
        assert isinstance(
            mirrored.sample(1, rng=np.random.default_rng(0), update=0).frames, torch.Tensor
        )
        np.testing.assert_array_equal(drawn(mirrored, seed), drawn(plain, seed))


def test_frames_that_are_there_already_are_mirrored(make_replay, make_segment):
    replay = make_replay()
    fill(replay, make_segment, np.random.default_rng(0))
    before = drawn(replay)
    replay.mirror_frames(CPU)
    np.testing.assert_array_equal(drawn(replay), before)


def test_a_segment_longer_than_the_ring_leaves_its_end_in_the_mirror(make_replay, make_segment):
    replay = make_replay(capacity=8)
    replay.mirror_frames(CPU)
    replay.add([make_segment(1, 0, 21)])
    slots = np.arange(8)
    np.testing.assert_array_equal(replay.gather(slots), replay.frame[slots])


def test_a_loaded_replay_is_mirrored_as_before(make_replay, make_segment, tmp_path):
    saved, loaded = make_replay(), make_replay()
    fill(saved, make_segment, np.random.default_rng(0))
    saved.save(tmp_path / "replay")
    loaded.mirror_frames(CPU)
    fill(loaded, make_segment, np.random.default_rng(1))
    loaded.load(tmp_path / "replay")
    assert isinstance(loaded.gather(np.arange(2)), torch.Tensor)
    np.testing.assert_array_equal(drawn(loaded), drawn(saved))


def test_archived_episodes_come_from_the_host(make_replay, make_segment):
    replay = make_replay()
    replay.mirror_frames(CPU)
    (last,) = replay.add([make_segment(3, 0, 4, end="terminated")])
    episode = replay.read_episode(last, episode_id=3, score=0.0)
    assert isinstance(episode.frames, np.ndarray)


def test_positions_to_search_are_stacked_on_the_device(make_replay, make_segment):
    plain, mirrored = make_replay(frame_stack=2), make_replay(frame_stack=2)
    mirrored.mirror_frames(CPU)
    found = []
    for replay in (plain, mirrored):
        fill(replay, make_segment, np.random.default_rng(0))
        cache = TargetCache(replay, num_actions=3)
        wanted = cache.ask(np.flatnonzero(replay.mass), version=0)
        found.append(cache.positions(wanted, np.arange(len(wanted.slots))).observations())
    assert isinstance(found[1], torch.Tensor)
    np.testing.assert_array_equal(found[1], found[0])

"""Random episodes and archives for the tests of the archive."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from rllib_ez.core.replay.archive import ArchiveSpec, EpisodeArchive
from rllib_ez.core.types import Episode

NUM_ACTIONS = 3
PIXELS = ArchiveSpec(env="pong", frame_shape=(6, 5, 3), frame_dtype="uint8", num_actions=3)
VECTOR = ArchiveSpec(env="CartPole-v1", frame_shape=(4,), frame_dtype="float32", num_actions=3)


def episode(id: int, *, spec: ArchiveSpec = VECTOR, steps: int = 5, **changes: object) -> Episode:
    """An episode whose every number is drawn from its id."""
    rng = np.random.default_rng(id)
    values = {
        "episode_id": id,
        "is_first": True,
        "frames": rng.integers(256, size=(steps + 1, *spec.frame_shape)).astype(spec.dtype),
        "action": rng.integers(spec.num_actions, size=steps).astype(np.int32),
        "reward": rng.standard_normal(steps).astype(np.float32),
        "policy": rng.dirichlet(np.ones(spec.num_actions), steps).astype(np.float32),
        "root_value": rng.standard_normal(steps).astype(np.float32),
        "collected_at_update": np.arange(id, id + steps + 1, dtype=np.int64),
        "terminated": id % 2 == 0,
        "score": float(id) + 0.5,
    }
    return Episode(**{**values, **changes})


def archive(folder: Path | str, *, writer: str = "shard-0", **settings: object) -> EpisodeArchive:
    """A writer of vectors, unless `spec` says otherwise."""
    return EpisodeArchive(folder, **{"spec": VECTOR, "writer": writer, **settings})


def assert_same(segment: object, episode: Episode) -> None:
    """All that travels by a segment is what it was in the episode, bit for bit."""
    same = {field.name for field in fields(Episode)} - {"episode_id", "collected_at_update"}
    for name in sorted(same):
        ours, theirs = getattr(segment, name), getattr(episode, name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None), name

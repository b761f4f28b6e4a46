"""The pipeline's part of a checkpoint: replay, target networks, counters; nothing pickled."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ray.rllib.utils.checkpoints import Checkpointable

from rllib_ez.algorithm.pipeline import Counts, Pipeline
from rllib_ez.algorithm.workers import value_of
from rllib_ez.errors import CheckpointError

COUNTERS = "counters.json"
FORMAT = 2


class KeptPipeline(Checkpointable):
    """What RLlib's checkpoints ask of a component; each shard writes its own files."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Never used: the algorithm makes its pipeline."""
        return (), {}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Empty: `save_to_path` writes the arrays itself, unpickled."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing: see `restore_from_path`."""

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """Writes replay, target networks and counters into a folder."""
        pipeline, folder = self._pipeline, Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        pipeline.quiesce()
        token = f".token-{secrets.token_hex(8)}"
        (folder / token).touch()
        pipeline.shards.call_all("save", str(folder), token=token)
        (folder / token).unlink()
        targets = pipeline.preparation.target_weights
        for version, weights in targets.items():
            torch.save(value_of(weights), folder / f"target_{version}.pt")
        counters = {
            "format": FORMAT,
            **asdict(pipeline.counts()),
            "target_versions": sorted(targets),
            "num_shards": len(pipeline.shards),
        }
        (folder / COUNTERS).write_text(json.dumps(counters))
        return str(folder)

    def saved_as(self, path: Path) -> None:
        """Tells the shards where the last checkpoint lies now, to link to what has not changed."""
        self._pipeline.shards.call_all("saved_as", str(path))

    def restore_from_path(self, path: Any, **kwargs: Any) -> None:
        """Reads what `save_to_path` wrote.

        Raises:
            CheckpointError: a file is missing or cut short, or there were other shards.
        """
        pipeline, folder = self._pipeline, Path(path)
        try:
            counters = json.loads((folder / COUNTERS).read_text())
            check_format(counters.pop("format", 1), folder)
            num_shards = counters.pop("num_shards")
            targets = {
                version: torch.load(folder / f"target_{version}.pt", weights_only=True)
                for version in counters.pop("target_versions")
            }
            counts = Counts(**counters)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"checkpoint must be complete, got {type(error).__name__}: {error} in {folder}; "
                "use an earlier checkpoint"
            ) from error
        if num_shards != len(pipeline.shards):
            raise CheckpointError(
                f"num_replay_shards must give as many shards as the checkpoint has, "
                f"{num_shards}, got {len(pipeline.shards)}"
            )
        pipeline.shards.call_all("load", str(folder))
        pipeline.restart(counts, targets)


def check_format(written: int, folder: Path) -> None:
    """Raises CheckpointError unless this version can read it."""
    if written != FORMAT:
        raise CheckpointError(
            f"checkpoint's pipeline must be of format {FORMAT}, got {written} in {folder}; read it "
            "with the version of rllib_ez that wrote it"
        )

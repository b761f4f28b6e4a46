"""Which checkpoint each model shall have: the one place that all replicas look at.

A replica that starts, or starts again, asks the board; so do all of them once in a while. What
an admin changes goes to the board and reaches every replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rllib_ez.core.agent_folder import find_agent
from rllib_ez.errors import CheckpointError
from serve.errors import Conflict, NotFound

KEPT_VERSIONS = 10  # of each model, to roll back to


@dataclass(frozen=True, slots=True)
class Placement:
    """What one model shall be."""

    checkpoint: str
    version: int  # counts up with every change; a rollback returns to the number it had
    follow: str | None = None  # a run's folder, whose newest checkpoint is taken
    earlier: tuple[tuple[int, str], ...] = ()  # (version, checkpoint), the newest last
    highest: int = 1  # version given out so far


@dataclass(frozen=True, slots=True)
class BoardState:
    """All models, in order: the first is the default. Grows in `revision` with every change."""

    revision: int = 0
    models: Mapping[str, Placement] | None = None
    configured: Mapping[str, Any] | None = None  # the `user_config` these came from

    def as_plain(self) -> dict[str, Any]:
        """For the way between processes."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BoardState:
        """Reads `as_plain`'s dict."""
        models = {
            name: Placement(**{**p, "earlier": tuple((v, c) for v, c in p["earlier"])})
            for name, p in (plain["models"] or {}).items()
        }
        return cls(plain["revision"], models, plain["configured"])


class Board:
    """Holds the state; every method gives the state that follows, as a plain dict."""

    def __init__(self) -> None:
        self._state = BoardState()

    def state(self) -> dict[str, Any]:
        """As it is, after a look at the runs that are followed."""
        for name, placement in self._models().items():
            if placement.follow is not None:
                newest = newest_checkpoint(placement.follow)
                known = (placement.checkpoint, *(c for _, c in placement.earlier))
                if newest is not None and newest not in known:
                    self._put(name, succeeded(placement, newest))
        return self._state.as_plain()

    def learn(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Takes over a replica's state if it is newer: this board has been started anew."""
        if plain["revision"] > self._state.revision:
            self._state = BoardState.from_plain(plain)
        return self._state.as_plain()

    def configure(self, models: Mapping[str, Any]) -> dict[str, Any]:
        """Takes over a `user_config`, unless it is the one that is already known.

        Args:
            models: name: {"checkpoint": path, "follow": bool}.
        """
        if models == self._state.configured:
            return self._state.as_plain()
        placements = {}
        before = self._models()
        for name, wanted in models.items():
            follow = bool(wanted.get("follow", False))
            # Settled here, so that all replicas take the same one of a run that goes on.
            checkpoint = newest_checkpoint(wanted["checkpoint"]) or wanted["checkpoint"]
            placement = before.get(name)
            if placement is None:
                placement = Placement(checkpoint, 1)
            elif placement.checkpoint != checkpoint:
                placement = succeeded(placement, checkpoint)
            run = wanted["checkpoint"] if follow else None
            placements[name] = replace(placement, follow=run)
        self._state = BoardState(self._state.revision + 1, placements, dict(models))
        return self._state.as_plain()

    def place(self, name: str, checkpoint: str) -> dict[str, Any]:
        """Another checkpoint for a model, or a new model; ends following a run."""
        placement = self._models().get(name)
        new = Placement(checkpoint, 1) if placement is None else succeeded(placement, checkpoint)
        self._put(name, replace(new, follow=None))
        return self._state.as_plain()

    def roll_back(self, name: str) -> dict[str, Any]:
        """The version before; ends following a run.

        Raises:
            NotFound: no such model.
            Conflict: there is no version before.
        """
        placement = self._get(name)
        if not placement.earlier:
            raise Conflict(f"model {name!r} must have an earlier version, and has none")
        version, checkpoint = placement.earlier[-1]
        self._put(
            name,
            replace(
                placement,
                checkpoint=checkpoint,
                version=version,
                earlier=placement.earlier[:-1],
                follow=None,
            ),
        )
        return self._state.as_plain()

    def remove(self, name: str) -> dict[str, Any]:
        """Serves it no more."""
        self._get(name)
        rest = {key: value for key, value in self._models().items() if key != name}
        self._state = replace(self._state, revision=self._state.revision + 1, models=rest)
        return self._state.as_plain()

    def _models(self) -> dict[str, Placement]:
        return dict(self._state.models or {})

    def _get(self, name: str) -> Placement:
        placement = self._models().get(name)
        if placement is None:
            raise NotFound(f"model must exist, got {name!r}", code="model_not_found")
        return placement

    def _put(self, name: str, placement: Placement) -> None:
        models = {**self._models(), name: placement}
        self._state = replace(self._state, revision=self._state.revision + 1, models=models)


def succeeded(placement: Placement, checkpoint: str) -> Placement:
    """The next version."""
    earlier = (*placement.earlier, (placement.version, placement.checkpoint))
    highest = placement.highest + 1
    return replace(
        placement,
        checkpoint=checkpoint,
        version=highest,
        highest=highest,
        earlier=earlier[-KEPT_VERSIONS:],
    )


def newest_checkpoint(run: str) -> str | None:
    """The newest finished checkpoint of a run; None as long as there is none."""
    try:
        return str(find_agent(Path(run)).parent)
    except CheckpointError:
        return None

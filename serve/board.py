"""Which checkpoint each model shall have: the one place that all replicas look at.

A replica that starts, or starts again, asks the board; so do all of them once in a while. What
an admin changes goes to the board and reaches every replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    models: Mapping[str, Placement] = field(default_factory=dict)
    configured: Mapping[str, Any] | None = None  # the `user_config` these came from
    removed: Mapping[str, int] = field(default_factory=dict)  # name: its highest version so far

    def as_plain(self) -> dict[str, Any]:
        """For the way between processes."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BoardState:
        """Reads `as_plain`'s dict."""
        models = {
            name: Placement(**{**p, "earlier": tuple((v, c) for v, c in p["earlier"])})
            for name, p in plain["models"].items()
        }
        return cls(plain["revision"], models, plain["configured"], plain["removed"])


class Board:
    """Holds the state; every method gives the state that follows, as a plain dict."""

    def __init__(self) -> None:
        self._state = BoardState()

    def state(self) -> dict[str, Any]:
        """As it is, after a look at the runs that are followed."""
        for name, placement in dict(self._state.models).items():
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
        """Takes over what is new in a `user_config`; what an admin did to other models stays.

        Args:
            models: name: {"checkpoint": path, "follow": bool}.
        """
        configured = self._state.configured or {}
        if models == self._state.configured:
            return self._state.as_plain()
        placements = {}
        for name, wanted in models.items():
            placement = self._state.models.get(name)
            if placement is None or wanted != configured.get(name):
                placement = self._configured(name, wanted)
            placements[name] = placement
        self._change(placements, configured=dict(models))
        return self._state.as_plain()

    def _configured(self, name: str, wanted: Mapping[str, Any]) -> Placement:
        run = wanted["checkpoint"]
        # Settled here, so that all replicas take the same one of a run that goes on.
        checkpoint = newest_checkpoint(run) or run
        placement = self._state.models.get(name)
        if placement is None or placement.checkpoint != checkpoint:
            placement = self._next(name, checkpoint)
        return replace(placement, follow=run if wanted.get("follow", False) else None)

    def place(self, name: str, checkpoint: str) -> dict[str, Any]:
        """Another checkpoint for a model, or a new model; ends following a run."""
        self._put(name, replace(self._next(name, checkpoint), follow=None))
        return self._state.as_plain()

    def roll_back(self, name: str) -> dict[str, Any]:
        """The version before; ends following a run.

        Raises:
            NotFound: no such model.
            Conflict: there is no version before, or its checkpoint has been deleted.
        """
        placement = self._get(name)
        if not placement.earlier:
            raise Conflict(f"model {name!r} must have an earlier version, and has none")
        version, checkpoint = placement.earlier[-1]
        if newest_checkpoint(checkpoint) is None:  # a replica that starts could not load it
            raise Conflict(
                f"version {version} of {name!r} must still have its checkpoint, got none in "
                f"{checkpoint!r}: load another"
            )
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
        self._change({key: value for key, value in self._state.models.items() if key != name})
        return self._state.as_plain()

    def _get(self, name: str) -> Placement:
        placement = self._state.models.get(name)
        if placement is None:
            raise NotFound(f"model must exist, got {name!r}", code="model_not_found")
        return placement

    def _next(self, name: str, checkpoint: str) -> Placement:
        """The version after the present one, or the first one; no number is given out twice."""
        placement = self._state.models.get(name)
        if placement is not None:
            return succeeded(placement, checkpoint)
        number = self._state.removed.get(name, 0) + 1
        return Placement(checkpoint, number, highest=number)

    def _put(self, name: str, placement: Placement) -> None:
        self._change({**self._state.models, name: placement})

    def _change(self, models: Mapping[str, Placement], **changes: Any) -> None:
        gone = {n: p.highest for n, p in self._state.models.items() if n not in models}
        self._state = replace(
            self._state,
            revision=self._state.revision + 1,
            models=models,
            removed={**self._state.removed, **gone},
            **changes,
        )


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
    """The newest finished checkpoint of a run, or a checkpoint itself; None if there is none."""
    try:
        return str(find_agent(Path(run)).parent)
    except (CheckpointError, OSError):
        return None

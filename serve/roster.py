"""The models of one replica: what it serves now, and how it follows the board.

Loading happens on a thread of its own, beside the model that answers meanwhile; the new one takes
its place between two batches, once it has been warmed up and tried out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from rllib_ez.errors import EfficientZeroError
from serve.batcher import Batcher
from serve.board import BoardState, Placement
from serve.errors import Conflict, NotFound, NotReady, ServiceError
from serve.lanes import Lane
from serve.logs import log
from serve.models import Found, ServedModel, load_model
from serve.query import Query
from serve.sessions import Sessions
from serve.settings import ServiceSettings

KNOWN = (EfficientZeroError, ServiceError)  # their text is for clients to read
RETRY_SECONDS = 10.0  # then a checkpoint that a model waits for is tried again


class BoardLink(Protocol):
    """`Board` as it is called from a replica: here, or in another process."""

    async def call(self, method: str, *args: Any) -> dict[str, Any]:
        """One of the board's methods; the plain state that follows."""
        ...


@dataclass(slots=True)
class Seat:
    """One name, and who answers to it."""

    name: str
    sessions: Sessions
    lane: Lane[Query, Found]
    current: ServedModel | None = None  # none until the first is loaded
    placed: Placement | None = None  # of `current`
    failed: tuple[Placement, str] | None = None  # what could not be loaded, and why
    tried_at: float = 0.0  # monotonic seconds
    spare: tuple[Placement, ServedModel] | None = None  # the one before: a rollback need not wait

    @property
    def state(self) -> str:
        """ "ready", "loading" (its first), or "failed" (there is none)."""
        if self.current is not None:
            return "ready"
        return "failed" if self.failed else "loading"


class Roster:
    """Every model of this replica."""

    def __init__(
        self,
        settings: ServiceSettings,
        batcher: Batcher,
        board: BoardLink,
        *,
        load: Callable[..., ServedModel] = load_model,
        on_reload: Callable[[str, str], None] = lambda name, outcome: None,
    ) -> None:
        self._settings, self._batcher, self._board = settings, batcher, board
        self._load, self._on_reload = load, on_reload
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._prepared: dict[tuple[str, str], ServedModel] = {}  # by name and path
        self._known = BoardState()
        self._turn = asyncio.Lock()  # one change at a time
        self._has_been_ready = False
        self.seats: dict[str, Seat] = {}

    def seat(self, name: str | None) -> Seat:
        """The seat of a name; of the default model for None.

        Raises:
            NotFound: no such model.
        """
        if name is None and self.seats:
            return next(iter(self.seats.values()))
        seat = self.seats.get(name or "")
        if seat is None:
            raise NotFound(
                f"model must be one of {list(self.seats)}, got {name!r}", code="model_not_found"
            )
        return seat

    def model(self, name: str | None) -> tuple[Seat, ServedModel]:
        """A seat and who answers.

        Raises:
            NotFound: no such model.
            NotReady: still loading, or it could not be loaded.
        """
        seat = self.seat(name)
        if seat.current is None:
            why = seat.failed[1] if seat.failed else "it is being loaded"
            raise NotReady(f"model {seat.name!r} is not ready: {why}", retry_after=1)
        return seat, seat.current

    @property
    def is_ready(self) -> bool:
        """Every model answers; one that is added later is waited for by its own clients only."""
        return bool(self.seats) and (self._has_been_ready or self._all_loaded())

    def _all_loaded(self) -> bool:
        return bool(self.seats) and all(seat.current for seat in self.seats.values())

    async def configure(self, models: Mapping[str, Any]) -> None:
        """Hands a `user_config` to the board and follows what it says."""
        await self.change("configure", dict(models))

    async def change(self, method: str, *args: Any) -> None:
        """Asks the board for a change, and makes it here before it returns."""
        await self._board_state()  # one that was started anew must know what is to be changed
        await self.follow(await self._board.call(method, *args))

    async def prepare(self, name: str, checkpoint: str) -> ServedModel:
        """Loads a checkpoint that the board does not know yet; the next change may take it.

        Raises:
            CheckpointError: not a checkpoint that can be served.
            Conflict: another space than the model's.
        """
        seat = self.seats.get(name)
        model = await self._load_beside(name, checkpoint, version=0)
        check_same_space(None if seat is None else seat.current, model)
        self._prepared = {(name, model.path): model}
        return model

    async def watch(self, *, period: float = 0.5) -> None:
        """Follows the board for ever; a board that was started anew is told what is known."""
        while True:
            await asyncio.sleep(period)
            try:
                await self.follow(await self._board_state())
            except Exception as error:  # the board is being restarted: what is here goes on
                log.warning("board_unreachable", extra={"fields": {"error": repr(error)}})

    async def _board_state(self) -> dict[str, Any]:
        plain = await self._board.call("state")
        if plain["revision"] < self._known.revision:
            plain = await self._board.call("learn", self._known.as_plain())
        return plain

    async def follow(self, plain: Mapping[str, Any]) -> None:
        """Makes this replica as the board says; what cannot be loaded stays as it was."""
        async with self._turn:
            if plain["revision"] < self._known.revision:
                return
            state = BoardState.from_plain(plain)
            for name in [name for name in self.seats if name not in state.models]:
                self._batcher.drop_lane(self.seats.pop(name).lane)
            for name in state.models:
                if name not in self.seats:
                    self.seats[name] = self._new_seat(name)
            for name, placement in state.models.items():
                await self._take_seat(self.seats[name], placement)
            self.seats = {name: self.seats[name] for name in state.models}
            self._known = state
            self._has_been_ready |= self._all_loaded()

    def _new_seat(self, name: str) -> Seat:
        def search(queries: list[Query]) -> list[Found]:
            model = seat.current  # whoever it is when the batch begins
            assert model is not None
            return model.search(queries)

        seat = Seat(
            name,
            Sessions(
                max_sessions=self._settings.max_sessions,
                idle_seconds=self._settings.session_idle_seconds,
            ),
            Lane(name, search),
        )
        self._batcher.add_lane(seat.lane)
        return seat

    async def _take_seat(self, seat: Seat, placement: Placement) -> None:
        if seat.placed is not None and is_same(seat.placed, placement):
            seat.placed, seat.failed = placement, None
            return
        if seat.failed is not None and is_same(seat.failed[0], placement):
            soon = time.monotonic() < seat.tried_at + RETRY_SECONDS
            if soon or seat.current is not None:  # who answers must not be slowed down
                return
        try:
            model = await self._model_for(seat, placement)
        except Exception as error:
            seat.failed, seat.tried_at = (placement, public(error)), time.monotonic()
            self._note(seat, "failed", placement.checkpoint, error)
            return
        if seat.current is not None and seat.placed is not None:
            seat.spare = (seat.placed, seat.current)
        seat.current, seat.placed, seat.failed = model, placement, None
        self._note(seat, "loaded", model.path, None)

    async def _model_for(self, seat: Seat, placement: Placement) -> ServedModel:
        """The spare, the one that has been prepared, or one that is loaded now."""
        if seat.spare is not None and is_same(seat.spare[0], placement):
            return seat.spare[1]
        version, checkpoint = placement.version, placement.checkpoint
        model = self._prepared.pop((seat.name, checkpoint), None)
        if model is None:
            model = await self._load_beside(seat.name, checkpoint, version=version)
        check_same_space(seat.current, model)
        return replace(model, version=version)

    def _note(self, seat: Seat, outcome: str, path: str, error: Exception | None) -> None:
        self._on_reload(seat.name, outcome)
        fields: dict[str, Any] = {"model": seat.name, "path": path}
        if error is not None:
            fields["error"] = public(error)
            cause = None if isinstance(error, KNOWN) else error
            log.error("load_failed", exc_info=cause, extra={"fields": fields})
            return
        assert seat.current is not None
        fields |= {"version": seat.current.version, "step": seat.current.card.num_env_steps}
        log.info("loaded", extra={"fields": fields})

    async def _load_beside(self, name: str, checkpoint: str, *, version: int) -> ServedModel:
        load = partial(self._load, checkpoint, name=name, version=version, settings=self._settings)
        return await asyncio.get_running_loop().run_in_executor(self._loader, load)


def is_same(one: Placement, other: Placement) -> bool:
    """Whether both are the same weights under the same number."""
    return (one.version, one.checkpoint) == (other.version, other.checkpoint)


def public(error: Exception) -> str:
    """What may be told of an error."""
    return str(error) if isinstance(error, KNOWN) else "see the service's log"


def check_same_space(before: ServedModel | None, after: ServedModel) -> None:
    """Raises Conflict where clients of the model would have to change."""
    if before is None:
        return
    old, new = before.card, after.card
    was = (old.model.frame_stack, old.model.frame_shape, old.frame_dtype, old.model.num_actions)
    now = (new.model.frame_stack, new.model.frame_shape, new.frame_dtype, new.model.num_actions)
    if was != now:
        raise Conflict(
            f"a newer version must have the same frame stack, frame, dtype and actions, {was}, "
            f"got {now}: serve it under another name",
            code="model_changed",
        )

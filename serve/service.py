"""One replica's service: from a request to the parts of its reply, without HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_ez.errors import CheckpointError, SettingError
from serve.batcher import Batcher
from serve.errors import Conflict, NotReady, Unprocessable
from serve.lanes import Answered
from serve.logs import log
from serve.metrics import Metrics
from serve.models import Found, ServedModel
from serve.naming import check_name
from serve.query import Query, as_stacks, invalid, make_query, read_frames, shortened
from serve.roster import BoardLink, Roster, Seat
from serve.schema import ActRequest
from serve.settings import ServiceSettings
from serve.tokens import Tokens

STUCK_SECONDS = 30.0  # past the longest deadline: then the device hangs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request came to."""

    query: Query
    answered: Answered[Found]
    total_seconds: float


class Service:
    """Everything that a replica holds. Lives on one event loop."""

    def __init__(self, settings: ServiceSettings, board: BoardLink) -> None:
        self.settings = settings
        self.tokens = Tokens.read(settings.token_file)
        self.metrics = Metrics()
        self.batcher = Batcher(
            settings.batcher, on_batch=self.metrics.batch, on_error=self._search_failed
        )
        self.roster = Roster(settings, self.batcher, board, on_reload=self.metrics.reload)
        self.metrics.watch(self)
        self._watching: asyncio.Task[None] | None = None
        self.is_draining = False

    async def start(self, models: Mapping[str, Any]) -> None:
        """Loads the models, then follows the board."""
        await self.roster.configure(models)
        if self._watching is None:
            self._watching = asyncio.create_task(self.roster.watch())

    async def stop(self) -> None:
        """Answers what waits, and takes nothing new."""
        self.is_draining = True
        if self._watching is not None:
            self._watching.cancel()
        await self.batcher.drain(self.settings.drain_seconds)

    def check_ready(self) -> None:
        """Raises NotReady unless every model answers."""
        if self.is_draining:
            raise NotReady("the service is going down", code="draining", retry_after=1)
        if not self.roster.is_ready:
            states = {seat.name: seat.state for seat in self.roster.seats.values()}
            raise NotReady(
                f"every model must be loaded, got {states}",
                details={"models": states},
                retry_after=1,
            )

    def check_alive(self) -> None:
        """Raises RuntimeError where only a restart helps: the device hangs."""
        oldest = self.batcher.oldest_seconds()
        if oldest > self.settings.deadline_seconds + STUCK_SECONDS:
            raise RuntimeError(f"a request has waited for {oldest:.0f} s: the device hangs")

    async def act(self, name: str | None, request: ActRequest) -> Outcome:
        """Answers one request.

        Raises:
            ServiceError: see `serve.errors`.
        """
        begun = time.perf_counter()
        seat, model = self.roster.model(name)
        key = request.session_id
        if key is None:
            stacks = free_stacks(model, request)
        else:
            stacks = session_stack(seat, model, request, key=key)[None]
        try:
            query = make_query(
                request, stacks, num_actions=model.card.model.num_actions, limits=model.limits
            )
            answered = await self.batcher.submit(
                seat.lane, query, count=len(stacks), timeout=self._seconds_for(request)
            )
        except BaseException:  # also where the client has left
            if key is not None:
                seat.sessions.take_back(key, stacks)
            raise
        return Outcome(query, answered, time.perf_counter() - begun)

    def _seconds_for(self, request: ActRequest) -> float:
        longest = self.settings.deadline_seconds
        return longest if request.deadline_ms is None else min(request.deadline_ms / 1000, longest)

    async def load(self, name: str, checkpoint: str) -> Seat:
        """Puts another checkpoint into a model's place, or a new model beside the others.

        It is loaded and tried out here first: a bad one changes nothing anywhere.

        Raises:
            CheckpointError: not a checkpoint that can be served.
            SettingError: a bad name, or a path that is not absolute.
            Conflict: another space than the model's (`model_changed`).
        """
        check_name(name)
        if not Path(checkpoint).is_absolute():  # a replica runs in a folder of its own
            raise SettingError(f"checkpoint must be an absolute path, got {shortened(checkpoint)}")
        try:
            model = await self.roster.prepare(name, checkpoint)
        except OSError as error:  # of the path: too long, not allowed, ...
            raise CheckpointError(
                f"checkpoint must be readable, got {type(error).__name__} for "
                f"{shortened(checkpoint)}"
            ) from error
        await self.roster.change("place", name, model.path)
        return self.roster.seat(name)

    async def roll_back(self, name: str) -> Seat:
        """The version before, in its place again.

        Raises:
            NotFound: no such model.
            Conflict: there is no version before, or it cannot be loaded any more.
        """
        await self.roster.change("roll_back", name)
        seat = self.roster.seat(name)
        if seat.failed is not None:
            raise Conflict(f"the version before must be loadable: {seat.failed[1]}")
        return seat

    async def remove(self, name: str) -> None:
        """Serves a model no more."""
        await self.roster.change("remove", name)

    def _search_failed(self, lane: str, error: BaseException) -> None:
        log.error("search_failed", exc_info=error, extra={"fields": {"model": lane}})


def free_stacks(model: ServedModel, request: ActRequest) -> np.ndarray:
    """[n, L, *frame] of a request without a session."""
    for name, given in (("step", request.step), ("reset", request.reset or None)):
        if given is not None:
            raise invalid(name, "come with session_id", given)
    frames = read_frames(request, model.card)
    return as_stacks(frames, model.card, batch=request.observations is not None)


def session_stack(seat: Seat, model: ServedModel, request: ActRequest, *, key: str) -> np.ndarray:
    """[L, *frame]: the session's own, after this request's frame."""
    if request.observations is not None:
        raise Unprocessable(
            "a session must take one observation at a time, got observations",
            details={"fields": ["observations"]},
        )
    frames = read_frames(request, model.card)
    is_frame = frames.shape[1:] == model.card.model.frame_shape
    if is_frame and not request.reset:
        return seat.sessions.push(key, frames[0], step=request.step)
    whole = as_stacks(frames, model.card, batch=False)[0]
    return seat.sessions.open(key, whole, step=request.step)

"""Where a call goes: to an object in this process, to one on a thread of its own, or to an actor.

The caller sees no difference.

A method that is called this way returns a tuple: first something small, which the driver reads,
then as many large things as the caller was told, which the driver only passes on. What it passes
on is a value (from an object here) or a reference (from an actor): a `Passed`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

Passed = Any  # a value, or an ObjectRef or a Result to one
MIXED_WAIT_SECONDS = 0.002  # between looks at actors and at threads, where there are both
GONE = (RayActorError, ObjectLostError, NodeDiedError, WorkerCrashedError)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One of the things that a call on a thread returns."""

    future: Future[tuple[Any, ...]]
    place: int


def value_of(passed: Passed) -> Any:
    """What a reference stands for; values as they are."""
    if isinstance(passed, Result):
        return passed.future.result()[passed.place]
    return ray.get(passed) if isinstance(passed, ray.ObjectRef) else passed


class WorkerGone(Exception):
    """A worker is lost, or something that it was to work on."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause).strip().splitlines()[0] if str(cause) else repr(cause))
        self.for_good = isinstance(cause, ActorDiedError)  # Ray will not restart it
        self.is_object = isinstance(cause, ObjectLostError)  # not the worker, but an argument


@dataclass(slots=True)
class Call:
    """A call under way."""

    then: Callable[..., None]  # gets the small thing and the large ones
    lost: Callable[[WorkerGone], None]
    small: Any  # the value, or a reference to it
    large: list[Passed]


class Worker(Protocol):
    """Something that can be called."""

    is_remote: bool  # an actor
    is_beside: bool  # works while the driver goes on
    target: Any  # the object, or the actor's handle

    def call(self, method: str, *args: Passed, num_large: int = 0, **kwargs: Any) -> Call:
        """Starts a call; arguments may be references, keyword arguments may not."""
        ...


class LocalWorker:
    """An object in this process: a call is over when it returns."""

    is_remote = is_beside = False

    def __init__(self, target: Any) -> None:
        self.target = target

    def call(self, method: str, *args: Passed, num_large: int = 0, **kwargs: Any) -> Call:
        """Runs the method; its exceptions are raised here."""
        values = [value_of(arg) for arg in args]
        small, *large = getattr(self.target, method)(*values, **kwargs)
        return Call(_nothing, _nothing, small, large)


class ThreadWorker:
    """An object in this process that works on one thread of its own, call after call.

    Args:
        target: the object. While a call to it is under way nobody else may use it.
        begin: called on the thread before everything else.
    """

    is_remote, is_beside = False, True

    def __init__(self, target: Any, *, begin: Callable[[], None] | None = None) -> None:
        self.target = target
        self._thread = ThreadPoolExecutor(1, type(target).__name__, initializer=begin)

    def call(self, method: str, *args: Passed, num_large: int = 0, **kwargs: Any) -> Call:
        """Leaves the method to the thread; its exceptions come where its result is asked for."""

        def run() -> tuple[Any, ...]:
            values = [value_of(arg) for arg in args]
            returned: tuple[Any, ...] = getattr(self.target, method)(*values, **kwargs)
            return returned

        future = self._thread.submit(run)
        results = [Result(future, place) for place in range(1 + num_large)]
        return Call(_nothing, _nothing, results[0], list(results[1:]))


class RemoteWorker:
    """An actor."""

    is_remote = is_beside = True

    def __init__(self, actor: Any) -> None:
        self.target = actor

    def call(self, method: str, *args: Passed, num_large: int = 0, **kwargs: Any) -> Call:
        """Sends the call."""
        remote = getattr(self.target, method).options(num_returns=1 + num_large)
        refs = remote.remote(*args, **kwargs)
        small, *large = refs if num_large else [refs]
        return Call(_nothing, _nothing, small, large)


def _nothing(*args: Any) -> None:
    pass


@dataclass(slots=True)
class Calls:
    """All calls under way. `take_one` waits for the next that is over and says so to its caller."""

    seconds_waited: float = 0.0
    _over: deque[Call] = field(default_factory=deque)
    _running: dict[Any, Call] = field(default_factory=dict)  # by actors
    _threads: dict[Future[tuple[Any, ...]], Call] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._over) + len(self._running) + len(self._threads)

    def start(
        self,
        call: Call,
        then: Callable[..., None],
        *,
        lost: Callable[[WorkerGone], None],
    ) -> None:
        """Keeps an eye on a call.

        Args:
            call: just started.
            then: is called with the small result and the large ones, as `Passed`.
            lost: is called instead if the worker or one of the arguments is gone.
        """
        call.then, call.lost = then, lost
        if isinstance(call.small, ray.ObjectRef):
            self._running[call.small] = call
        elif isinstance(call.small, Result):
            self._threads[call.small.future] = call
        else:
            self._over.append(call)

    def take_over(self) -> bool:
        """Tells the caller of a call that is over in this process; False if there is none."""
        if not self._over:
            return False
        call = self._over.popleft()
        call.then(call.small, *call.large)
        return True

    def take_one(self, *, timeout: float) -> bool:
        """Waits for a call to be over and tells its caller; False if none was in time.

        Raises:
            Exception: whatever a remote method raised.
        """
        if self.take_over():
            return True
        start = time.perf_counter()
        call = self._next_over(timeout)
        self.seconds_waited += time.perf_counter() - start
        if call is None:
            return False
        self._tell(call)
        return True

    def _next_over(self, timeout: float) -> Call | None:
        """Waits for a call that actors or threads are at; None if none is over in time."""
        if not self._running and not self._threads:  # for a lost worker to be back
            time.sleep(timeout)
            return None
        end = time.perf_counter() + timeout
        both = bool(self._running and self._threads)
        while True:
            left = max(0.0, end - time.perf_counter())
            if self._threads:
                over, _ = wait(self._threads, 0 if both else left, FIRST_COMPLETED)
                if over:  # dicts keep their order: the one that was called first comes first
                    return self._threads.pop(next(one for one in self._threads if one in over))
            if self._running:
                pause = min(left, MIXED_WAIT_SECONDS) if both else left
                ready, _ = ray.wait(list(self._running), num_returns=1, timeout=pause)
                if ready:
                    return self._running.pop(ready[0])
            if time.perf_counter() >= end:
                return None

    def forget(self) -> None:
        """Drops everything: nobody is told. What threads are at is waited for."""
        self._over.clear()
        self._running.clear()
        wait(self._threads)
        self._threads.clear()

    def _tell(self, call: Call) -> None:
        try:
            small = value_of(call.small)
        except Exception as error:
            gone = worker_gone(error)
            if gone is None:
                raise
            call.lost(gone)
            return
        if isinstance(call.small, ray.ObjectRef) and not call.large and isinstance(small, tuple):
            (small,) = small
        call.then(small, *call.large)


def worker_gone(error: Exception) -> WorkerGone | None:
    """The error as the loss of a worker; None if it is something else."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, GONE):
        return WorkerGone(cause)
    return None

"""The board on Ray Serve, and how a replica calls it. Loads no torch: its process stays small."""

from __future__ import annotations

from typing import Any

from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serve.board import Board

CALLABLE = ("state", "learn", "configure", "place", "roll_back", "remove")


class BoardDeployment:
    """A `Board` that the replicas call."""

    def __init__(self) -> None:
        self._board = Board()

    async def call(self, method: str, args: tuple[Any, ...]) -> dict[str, Any]:
        """One of the board's methods."""
        if method not in CALLABLE:
            raise ValueError(f"method must be one of {CALLABLE}, got {method!r}")
        state: dict[str, Any] = getattr(self._board, method)(*args)
        return state


class HandleLink:
    """The board in another process."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def call(self, method: str, *args: Any) -> dict[str, Any]:
        """One of the board's methods; its own errors come as they were raised."""
        try:
            state: dict[str, Any] = await self._handle.call.remote(method, args)
            return state
        except RayServeException:
            raise
        except Exception as error:
            cause = getattr(error, "cause", None)
            raise cause if isinstance(cause, Exception) else error from None

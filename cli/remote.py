"""An agent behind an action service, for whatever plays an `Agent`.

Its searches get the same seeds as a local agent's, so that it plays the same actions to the bit.
Axes: B environments that play.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rllib_ez.core.agent_card import AgentCard
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.errors import EfficientZeroError, SettingError
from serve.client import (
    ActionClient,
    ActionReply,
    ActionServiceError,
    AsyncActionClient,
    RequestRefused,
)
from serve.client_async import AsyncConversation

TRANSPORTS = ("http", "session", "websocket")


class RemoteAgent:
    """A model of a service, with the card and the policy of an `Agent`.

    Args:
        url: of the service.
        model: its name; None: the service's default.
        token: None: as in EZ_TOKEN, if it is set.
        transport: "http" (all environments in one request), or "session" or "websocket" (frame
            by frame, a conversation for each environment).
        num_simulations: of each search; None: the model's own.
        retry_seconds: after which a call without an answer is given up.

    Raises:
        SettingError: an argument is wrong, or the service refuses it.
        EfficientZeroError: there is no answer.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        token: str | None = None,
        transport: str = "http",
        num_simulations: int | None = None,
        retry_seconds: float = 30.0,
    ) -> None:
        if transport not in TRANSPORTS:
            raise SettingError(f"transport must be one of {TRANSPORTS}, got {transport!r}")
        token = token or os.environ.get("EZ_TOKEN")
        with plainly_told():
            client = ActionClient(url, model=model, token=token, retry_seconds=retry_seconds)
            info = client.model()
        self.card = card_of(info, num_simulations)
        self.version: int = info["version"]
        self._num_simulations = num_simulations
        if transport == "http":
            self._wire: _Wire = _Batches(client, info["max_observations"])
            return
        client.close()
        many = AsyncActionClient(url, model=info["name"], token=token, retry_seconds=retry_seconds)
        self._wire = _Conversations(many, many.session if transport == "session" else many.play)

    def __enter__(self) -> RemoteAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self._wire.close()

    def policy(self, stacks: np.ndarray, seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Actions [B] for stacks [B, L, *frame], as `Agent.policy`.

        Args:
            seeds: [B] i64, of the episodes.
            steps: [B] i64, since each began.
        """
        counters = np.stack((seeds, steps), axis=1)
        roots = search_seeds(self.card.seed, Stream.EVALUATE, counters)
        with plainly_told():
            replies = self._wire.search(
                stacks, roots, counters=counters, budget=self._num_simulations
            )
        for reply in replies:
            if reply.model_version != self.version:
                raise SettingError(
                    f"the model must stay the same while it is evaluated, got version "
                    f"{reply.model_version} after version {self.version}: start again"
                )
        return np.concatenate([reply.action for reply in replies])


class _Wire(Protocol):
    """A way to the service."""

    def search(
        self, stacks: np.ndarray, roots: np.ndarray, *, counters: np.ndarray, budget: int | None
    ) -> list[ActionReply]:
        """Replies whose rows are those of stacks [B, L, *frame].

        Args:
            roots: [B] u64, the searches' seeds.
            counters: [B, 2] i64, seed of the episode and step in it.
            budget: simulations of each search; None: the model's own.
        """
        ...

    def close(self) -> None:
        """Hangs up."""
        ...


class _Batches:
    """All environments in one request, or in as few as the service takes."""

    def __init__(self, client: ActionClient, most: int) -> None:
        self._client, self._most = client, most

    def search(
        self, stacks: np.ndarray, roots: np.ndarray, *, counters: np.ndarray, budget: int | None
    ) -> list[ActionReply]:
        replies = []
        for start in range(0, len(stacks), self._most):
            part = slice(start, start + self._most)
            budgets = None if budget is None else np.full(len(roots[part]), budget)
            replies.append(
                self._client.search(stacks[part], seeds=roots[part], num_simulations=budgets)
            )
        return replies

    def close(self) -> None:
        self._client.close()


class _Conversations:
    """One conversation for each environment, all of them at a time."""

    def __init__(
        self, client: AsyncActionClient, open_one: Callable[[], AsyncConversation]
    ) -> None:
        self._client, self._open_one = client, open_one
        self._loop = asyncio.new_event_loop()
        self._all: list[AsyncConversation] = []
        self._free: list[AsyncConversation] = []
        # By (seed of the episode, step that comes next): what a policy is told of its rows.
        self._expecting: dict[tuple[int, int], list[AsyncConversation]] = {}

    def search(
        self, stacks: np.ndarray, roots: np.ndarray, *, counters: np.ndarray, budget: int | None
    ) -> list[ActionReply]:
        options: dict[str, Any] = {} if budget is None else {"simulations": budget}
        keys = [(int(episode), int(step)) for episode, step in counters]
        calls = [
            one.search(stack[-1], reset=key[1] == 0, seed=int(root), **options)
            for one, stack, key, root in zip(self._of(keys), stacks, keys, roots, strict=True)
        ]

        async def together() -> list[ActionReply]:
            return await asyncio.gather(*calls)

        return self._loop.run_until_complete(together())

    def _of(self, keys: Sequence[tuple[int, int]]) -> list[AsyncConversation]:
        going_on = {i: self._expecting[key].pop() for i, key in enumerate(keys) if key[1] > 0}
        self._free += [one for rest in self._expecting.values() for one in rest]
        expecting = defaultdict(list)
        for i, (episode, step) in enumerate(keys):
            if i not in going_on:
                going_on[i] = self._free.pop() if self._free else self._opened()
            expecting[episode, step + 1].append(going_on[i])
        self._expecting = dict(expecting)
        return [going_on[i] for i in range(len(keys))]

    def _opened(self) -> AsyncConversation:
        self._all.append(self._open_one())
        return self._all[-1]

    def close(self) -> None:
        async def hang_up() -> None:
            await asyncio.gather(*(one.aclose() for one in self._all))
            await self._client.aclose()

        self._loop.run_until_complete(hang_up())
        self._loop.close()


def card_of(info: dict[str, Any], num_simulations: int | None) -> AgentCard:
    """What a service tells of a model, so far as it is needed to play; the rest are defaults."""
    space, written = info["observation"], info["checkpoint"]
    simulations = info["simulations"]["default"] if num_simulations is None else num_simulations
    return AgentCard(
        env=info["env"],
        **info["preprocessing"],
        frame_dtype=space["dtype"],
        model=ModelConfig(
            network="pixel" if space["dtype"] == "uint8" else "vector",
            frame_shape=tuple(space["frame_shape"]),
            frame_stack=space["frame_stack"],
            num_actions=info["actions"]["n"],
        ),
        search=SearchConfig(
            num_simulations=simulations,
            discount=info["search"]["discount"],
            search_method=info["search"]["method"],
        ),
        seed=written["seed"],
        num_env_steps=written["env_steps"],
        num_updates=written["updates"],
        written_by=written["written_by"],
    )


def read_token(path: Path | None) -> str | None:
    """The token in a file; None: EZ_TOKEN will do."""
    if path is None:
        return None
    token = path.read_text().strip()
    if not token or any(sign.isspace() for sign in token):
        raise SettingError(f"token-file must hold one token and nothing else, got {str(path)!r}")
    return token


@contextmanager
def plainly_told() -> Iterator[None]:
    """What the client raises, as errors with an exit code."""
    try:
        yield
    except RequestRefused as error:
        raise SettingError(f"the service refused: {error}") from error
    except ActionServiceError as error:
        raise EfficientZeroError(str(error)) from error
    except ValueError as error:  # no URL at all
        raise SettingError(str(error)) from error

"""A checkpoint as it is served: loaded, warmed up, and tried out before anybody sees it.

Axes: n observations of one request, B of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ez.agent import Agent
from rllib_ez.core.agent_card import AgentCard, read_agent
from rllib_ez.core.agent_folder import find_agent
from rllib_ez.core.progress import last_evaluation
from rllib_ez.core.random import Stream, generator
from rllib_ez.core.search.search import sample_actions
from rllib_ez.core.types import SearchResult
from rllib_ez.errors import CheckpointError
from serve.query import Limits, Query
from serve.settings import ServiceSettings

TRACED = frozenset({"q", "principal_variation"})


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one request."""

    action: np.ndarray  # [n] i64
    result: SearchResult  # n rows
    model: ServedModel  # the one that answered


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version of a model, ready to answer."""

    name: str
    version: int
    agent: Agent
    limits: Limits
    path: str  # the checkpoint's folder
    sha256: str  # of the weights' file
    evaluation: dict[str, Any] | None  # the run's last one up to this checkpoint
    loaded_at: str  # ISO 8601, UTC

    @property
    def card(self) -> AgentCard:
        """Everything but the weights."""
        return self.agent.card

    def search(self, queries: list[Query]) -> list[Found]:
        """Answers several requests with one search."""
        stacks = np.concatenate([query.observations for query in queries])
        result = self.agent.search(
            stacks,
            legal=joined_masks(queries, self.card.model.num_actions),
            seeds=np.concatenate([query.seeds for query in queries]),
            num_simulations=np.concatenate([query.num_simulations for query in queries]),
            trace=any(query.include & TRACED for query in queries),
        )
        found, start = [], 0
        for query in queries:
            stop = start + len(query.seeds)
            rows = result.rows(np.arange(start, stop))
            found.append(Found(chosen(query, rows), rows, self))
            start = stop
        return found


def joined_masks(queries: list[Query], num_actions: int) -> np.ndarray | None:
    """[B, A] bool; None where nobody restricts anything."""
    if all(query.legal is None for query in queries):
        return None
    free = [np.ones((len(query.seeds), num_actions), np.bool_) for query in queries]
    return np.concatenate(
        [f if q.legal is None else q.legal for q, f in zip(queries, free, strict=True)]
    )


def chosen(query: Query, rows: SearchResult) -> np.ndarray:
    """[n] i64: the search's own actions, or drawn from visits, each by its own seed."""
    if query.deterministic:
        return rows.action
    drawn = [
        sample_actions(
            rows.visit_counts[i : i + 1],
            temperature=query.temperature,
            rng=generator(int(seed), Stream.SERVE, int(seed) >> 32),
        )[0]
        for i, seed in enumerate(query.seeds)
    ]
    return np.array(drawn, np.int64)


def load_model(
    checkpoint: str, *, name: str, version: int, settings: ServiceSettings
) -> ServedModel:
    """Reads a checkpoint, warms it up and tries it. Takes seconds; called on a thread of its own.

    Raises:
        CheckpointError: nothing there, not ours, of a newer format, cut short, or its weights or
            what its network gives are not finite.
    """
    folder = find_agent(Path(checkpoint))
    card, weights = read_agent(folder.parent)
    check_finite(weights)
    agent = Agent.of(card, weights, device=settings.device, engine=settings.engine)
    default = settings.simulations or agent.card.search.num_simulations
    limits = Limits(
        default_simulations=default,
        max_simulations=max(settings.max_simulations, default),
        max_observations=settings.batcher.max_batch,
    )
    model = ServedModel(
        name=name,
        version=version,
        agent=agent,
        limits=limits,
        path=str(folder.parent.absolute()),
        sha256=digest(folder / "weights.pt"),
        evaluation=last_evaluation(folder.parent.parent, env_steps=agent.card.num_env_steps),
        loaded_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    )
    for batch in warm_up_sizes(settings):
        try_out(model, batch)
    return model


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError for nan or infinity, which one search may well not meet."""
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise CheckpointError(
                f"checkpoint must hold finite weights, got nan or infinity in {name}; use an "
                "earlier checkpoint"
            )


def warm_up_sizes(settings: ServiceSettings) -> list[int]:
    """Batches to run once: on a GPU every size that is captured, on a CPU one."""
    if settings.device == "cpu":
        return [1]
    sizes = {min(8 << i, settings.batcher.max_batch) for i in range(8)}
    return sorted(sizes)


def try_out(model: ServedModel, batch: int) -> None:
    """Searches blank observations.

    Raises:
        CheckpointError: an action that is none, or a value that is not finite.
    """
    card = model.card
    stacks = np.zeros((batch, *model.agent.observation_shape), card.frame_dtype)
    budget = np.full(batch, model.limits.default_simulations, np.int32)
    try:
        result = model.agent.search(stacks, num_simulations=budget, trace=True)
    except ValueError as error:  # the search refuses roots that are not finite
        raise CheckpointError(f"checkpoint must give finite numbers, got {error}") from error
    legal = (result.action >= 0) & (result.action < card.model.num_actions)
    if not (legal.all() and np.isfinite(result.root_value).all()):
        raise CheckpointError(
            f"checkpoint must pass its self-test, got actions {result.action[:3]} of "
            f"{card.model.num_actions}, values {result.root_value[:3]}"
        )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()

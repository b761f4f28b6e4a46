"""How far acting is from what was learned on Pong: batch norm's statistics of final weights.

    python -m benchmarks.norm_gap runs/pong-0 [more runs] --out benchmarks/results/NAME

Learning normalises by each batch's own mean and variance, acting by those kept in the weights.
Along the last archived games of `ez train --env pong` with gray frames this compares

- kept: the statistics in the checkpoint, with which the run acted,
- batch: each batch's own (128 random positions), as in learning,
- precise: plain means over 40 batches, as `precise_batch_norm` publishes them,

by the value head alone, without search: its correlation with the discounted return up to the game's
end, the AUC of `benchmarks.pong_contacts`, and the divergence KL(batch | this) of the policies.
Writes norm_gap.json and norm_gap.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.pong_contacts import auc, flights_of, none_if_nan
from rllib_ez.core.agent_card import read_agent
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.precise_norm import acting_norms
from rllib_ez.core.replay.archive_reading import archived_segments, read_contents
from rllib_ez.core.types import Segment

BATCH, NUM_BATCHES = 128, 40
COLUMNS = ("run", "env_steps", "statistics", "correlation", "auc", "policy_kl")


def main() -> None:
    """Prints and writes three rows for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of ez train")
    parser.add_argument("--games", type=int, default=4, help="of the last ones")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for run in options.runs for row in rows_of(run, options.games)]
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks.norm_gap", *sys.argv[1:]])
    report = {"machine": describe_machine(), "command": command, "rows": rows}
    (options.out / "norm_gap.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "norm_gap.md").write_text(table(rows) + f"\n    {command}\n")
    print(table(rows))


def rows_of(run: Path, num_games: int) -> list[dict[str, Any]]:
    """The three kinds of statistics for one run's newest checkpoint."""
    card, weights = read_agent(run)
    model = EfficientZeroModel(card.model)
    model.load_state_dict(weights, strict=False)  # what acting does not need is not in it
    archive = run / "episodes"
    spec = read_contents(archive).spec
    games = list(archived_segments(archive, spec=spec, first_episode_id=0))
    steps, games = sum(len(game.action) for game in games), games[-num_games:]
    stacks = np.concatenate([stacks_of(game, card.model.frame_stack) for game in games])
    batch_value, batch_policy = said(model.train(), stacks)
    rows = []
    for name in ("kept", "batch", "precise"):
        other = model if name == "kept" else renewed(model, stacks)
        value, policy = said(other.eval(), stacks)
        if name == "batch":
            value, policy = batch_value, batch_policy
        row = {"run": run.name, "env_steps": steps, "statistics": name}
        row["correlation"] = float(np.corrcoef(value, returns(games, card.search.discount))[0, 1])
        row["auc"] = ball_auc(games, value, policy)
        row["policy_kl"] = float((batch_policy * np.log(batch_policy / policy)).sum(1).mean())
        rows.append(row)
    return rows


def stacks_of(game: Segment, stack: int) -> np.ndarray:
    """The observations [T, L, S, S, 1] u8 at a game's steps; the first frame fills up."""
    steps = np.arange(len(game.action))
    return np.stack(
        [game.frames[np.maximum(0, steps - back)] for back in range(stack - 1, -1, -1)], 1
    )


@torch.no_grad()
def said(model: EfficientZeroModel, stacks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [N] and policies [N, A] f64, in random batches; the kept statistics stay."""
    model = deepcopy(model)
    order = np.random.default_rng(0).permutation(len(stacks))
    value, policy = np.zeros(len(stacks)), np.zeros((len(stacks), model.config.num_actions))
    for chosen in np.array_split(order, len(order) // BATCH + 1):
        out = model.root(torch.from_numpy(stacks[chosen]))
        value[chosen] = model.value_support.expectation(out.value_logits)
        policy[chosen] = out.policy_logits.double().softmax(1)
    return value, policy


@torch.no_grad()
def renewed(model: EfficientZeroModel, stacks: np.ndarray) -> EfficientZeroModel:
    """A copy with plain means over some batches of real observations."""
    model = deepcopy(model).train()
    for norm in acting_norms(model):
        norm.reset_running_stats()
        norm.momentum = None
    rng = np.random.default_rng(1)
    for _ in range(NUM_BATCHES):
        model.root(torch.from_numpy(stacks[rng.integers(len(stacks), size=BATCH)]))
    return model


def returns(games: list[Segment], discount: float) -> np.ndarray:
    """The discounted return [N] from each step to the end of its game."""
    out = []
    for game in games:
        after, column = 0.0, np.zeros(len(game.reward))
        for t in reversed(range(len(column))):
            after = column[t] = game.reward[t] + discount * after
        out.append(column)
    return np.concatenate(out)


def ball_auc(games: list[Segment], value: np.ndarray, policy: np.ndarray) -> float | None:
    """AUC of the values at balls that will be returned; see `benchmarks.pong_contacts`."""
    ends = np.cumsum([len(game.action) for game in games])[:-1]
    flights = [
        flight
        for game, v, p in zip(games, np.split(value, ends), np.split(policy, ends), strict=True)
        for flight in flights_of(replace(game, root_value=v, policy=p))
    ]
    label = np.repeat([flight.returned for flight in flights], [len(f.value) for f in flights])
    return none_if_nan(auc(np.concatenate([flight.value for flight in flights]), label))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = [row[name] for name in COLUMNS]
        texts = [
            f"{c:.2f}" if isinstance(c, float) else "-" if c is None else str(c) for c in cells
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

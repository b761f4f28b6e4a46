"""Whether a network for Pong knows up from down in imagination; of a run's final weights.

    python -m benchmarks.pong_actions runs/pong-0 [more runs] --out benchmarks/results/NAME

Takes the steps of the last archived games of `ez train --env pong` with gray frames in which a ball
flies towards our paddle, and imagines 1, 3 and 5 times the same action. Q is the value prefix plus
the value behind it, neither searched nor discounted.

- higher, lower: mean Q(up) - Q(down) where the ball will meet our column more than a paddle's
  height above or below the paddle's middle; a network that knows has + and -,
- right: share of these steps in which the sign is right,
- other: mean |Q - Q| of action 2 (up) and 3 (down); same: of 2 and 4, which both mean up.

Writes pong_actions.json and pong_actions.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.norm_gap import stacks_of
from benchmarks.pong_contacts import DOWN, LEFT, OFF, PADDLE, UP, bounced, track
from rllib_ez.core.agent_card import read_agent
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.replay.archive_reading import archived_segments, read_contents
from rllib_ez.core.types import Segment

HORIZONS = (1, 3, 5)
COLUMNS = ("run", "updates", "imagined", "higher", "lower", "right", "other", "same")


def main() -> None:
    """Prints and writes a row for each run and horizon."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of ez train")
    parser.add_argument("--games", type=int, default=6, help="of the last ones")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for run in options.runs for row in rows_of(run, options.games)]
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks.pong_actions", *sys.argv[1:]])
    report = {"machine": describe_machine(), "command": command, "rows": rows}
    (options.out / "pong_actions.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "pong_actions.md").write_text(table(rows) + f"\n    {command}\n")
    print(table(rows))


def rows_of(run: Path, num_games: int) -> list[dict[str, Any]]:
    """A row for each horizon, by one run's newest checkpoint."""
    card, weights = read_agent(run)
    model = EfficientZeroModel(card.model)
    model.load_state_dict(weights, strict=False)  # what acting does not need is not in it
    model.eval()
    archive = run / "episodes"
    spec = read_contents(archive).spec
    games = list(archived_segments(archive, spec=spec, first_episode_id=0))[-num_games:]
    parts = [approaching(game, card.model.frame_stack) for game in games]
    stacks, above = (np.concatenate(column) for column in zip(*parts, strict=True))
    q = np.stack([imagined(model, stacks, action) for action in range(card.model.num_actions)])
    higher, lower = above > OFF, above < -OFF
    rows = []
    for index, horizon in enumerate(HORIZONS):
        now = q[:, index]  # [A, N]
        up = now[UP].mean(0) - now[DOWN].mean(0)
        right = np.concatenate((up[higher] > 0, up[lower] < 0))
        rows.append(
            {
                "run": run.name,
                "updates": card.num_updates,
                "imagined": horizon,
                "steps": int(higher.sum() + lower.sum()),
                "higher": float(up[higher].mean()),
                "lower": float(up[lower].mean()),
                "right": float(right.mean()),
                "other": float(np.abs(now[2] - now[3]).mean()),
                "same": float(np.abs(now[2] - now[4]).mean()),
            }
        )
    return rows


def approaching(game: Segment, stack: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations [N, L, S, S, 1] with a ball on its way to us, and how far above us it ends [N].

    Pixels of ALE by which it will meet our column above the paddle's middle.
    """
    x, y, paddle = (column[: len(game.action)] for column in track(game.frames))
    vx, vy = np.diff(x, prepend=np.nan), np.diff(y, prepend=np.nan)
    steps = np.flatnonzero((vx > 0) & (x > (LEFT + PADDLE) / 2 - 10) & (x < PADDLE - 12))
    meets = bounced(y[steps] + vy[steps] * (PADDLE - x[steps]) / vx[steps])
    return stacks_of(game, stack)[steps], paddle[steps] - meets


@torch.no_grad()
def imagined(model: EfficientZeroModel, stacks: np.ndarray, action: int) -> np.ndarray:
    """Q [len(HORIZONS), N] of doing one action again and again, reward units."""
    latents = [model.represent(torch.from_numpy(stacks))]
    again = torch.full((len(stacks),), action)
    for _ in range(max(HORIZONS)):
        latents.append(model.transition(latents[-1], again))
    seen = torch.stack(latents[1:], 1)
    prefix = model.value_prefix_support.expectation(model.accumulate(seen, None)[0])
    values = [model.value_support.expectation(model.predict(latents[k])[1]) for k in HORIZONS]
    return np.stack([prefix[:, k - 1] + v for k, v in zip(HORIZONS, values, strict=True)])


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        signed = [f"{row[name]:+.3f}" for name in ("higher", "lower")]
        plain = [f"{row['right']:.2f}", f"{row['other']:.3f}", f"{row['same']:.3f}"]
        cells = [*(str(row[name]) for name in COLUMNS[:3]), *signed, *plain]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

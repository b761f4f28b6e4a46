"""What an agent learns of Pong before its score moves: balls returned, and whether it sees why.

    python -m benchmarks.pong_contacts runs/pong-0 [more runs] --out benchmarks/results/NAME

Reads the archived games of `ez train --env pong` with gray frames. A game of 21 lost points hides
how many balls were returned on the way; of every ball that flies towards our paddle this tells

- returned: the share that came back (random play: 0.15),
- AUC: how well the search's value of the last steps before the paddle tells those that will be
  returned from those that will not (0.5: not at all, 1: always),
- steered: probability of up minus that of down where the ball will meet the column of our paddle
  higher than the paddle is, minus the same where it will meet it lower (0: blind, 2: perfect).

Writes contacts.json and contacts.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from rllib_ez.core.replay.archive_reading import archived_segments, read_contents
from rllib_ez.core.types import Segment

# The screen in ALE's pixels: 210 high, 160 wide.
TOP, BOTTOM, LEFT, PADDLE, RIGHT = 34, 194, 24, 137, 145
UP, DOWN = [2, 4], [3, 5]  # of the minimal actions; RIGHT moves the paddle up
NEAR = 112  # x: the ball is a few steps from the paddle
OFF = 16.0  # pixels, a paddle's height


@dataclass(frozen=True, slots=True)
class Flight:
    """One ball on its way to our paddle, at the steps [F] where it was seen near it."""

    returned: bool
    value: np.ndarray  # [F] of the search, reward units
    above: np.ndarray  # [F] pixels by which it will meet our column above the paddle's middle
    steer: np.ndarray  # [F] probability of up minus that of down


def main() -> None:
    """Prints and writes a row for every so many games of each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of ez train")
    parser.add_argument("--games", type=int, default=8, help="games in a row of the table")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = [row for run in options.runs for row in rows_of(run, options.games)]
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks.pong_contacts", *sys.argv[1:]])
    report = {"machine": describe_machine(), "command": command, "rows": rows}
    (options.out / "contacts.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "contacts.md").write_text(table(rows) + f"\n    {command}\n")
    print(table(rows))


def rows_of(run: Path, games: int) -> list[dict[str, Any]]:
    """A row for every `games` games of a run, in the order in which they ended."""
    archive = run / "episodes"
    spec = read_contents(archive).spec
    segments = list(archived_segments(archive, spec=spec, first_episode_id=0))
    groups = [segments[start : start + games] for start in range(0, len(segments), games)]
    rows, steps = [], 0
    for group in groups:
        steps += sum(len(game.action) for game in group)
        rows.append({"run": run.name, "env_steps": steps, **summary(group)})
    return rows


def summary(games: list[Segment]) -> dict[str, Any]:
    """What the games' flights come to."""
    flights = [flight for game in games for flight in flights_of(game)]
    returned = np.array([flight.returned for flight in flights], bool)
    value = np.concatenate([flight.value for flight in flights] or [np.zeros(0)])
    above = np.concatenate([flight.above for flight in flights] or [np.zeros(0)])
    steer = np.concatenate([flight.steer for flight in flights] or [np.zeros(0)])
    label = np.repeat(returned, [len(flight.value) for flight in flights])
    higher, lower = steer[above > OFF], steer[above < -OFF]
    steered = higher.mean() - lower.mean() if len(higher) and len(lower) else np.nan
    return {
        "games": len(games),
        "score": float(np.mean([game.reward.sum() for game in games])),
        "balls": len(flights),
        "returned": float(returned.mean()) if len(flights) else None,
        "auc": none_if_nan(auc(value, label)),
        "steered": none_if_nan(steered),
    }


def flights_of(game: Segment) -> list[Flight]:
    """Every ball that came near our paddle and whose end was seen."""
    x, y, paddle = track(game.frames)
    vx, vy = np.diff(x, prepend=np.nan), np.diff(y, prepend=np.nan)
    steer = game.policy[:, UP].sum(1) - game.policy[:, DOWN].sum(1)
    flights: list[Flight] = []
    near: list[int] = []
    for t, reward in enumerate(game.reward):
        if vx[t] > 0 and x[t] > NEAR:
            near.append(t)
        returned = vx[t] < 0 and x[t] > (LEFT + PADDLE) / 2
        if near and (returned or reward != 0):
            meets = bounced(y[near] + vy[near] * (PADDLE - x[near]) / vx[near])
            above = paddle[near] - meets
            if returned or reward < 0:
                flights.append(Flight(bool(returned), game.root_value[near], above, steer[near]))
            near = []
    return flights


def track(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where ball and paddle are.

    Args:
        frames: [T, S, S, 1] u8, the whole screen.

    Returns:
        The ball's x and y [T], NaN where it is not in the field, and the y [T] of our paddle's
        middle; in ALE's pixels, y downwards.
    """
    size = frames.shape[1]
    rows = slice(round(TOP / 210 * size) + 1, round(BOTTOM / 210 * size) - 1)
    field = frames[:, rows, :, 0].astype(np.float32)
    field = np.abs(field - np.median(field, axis=(1, 2), keepdims=True))
    columns = (np.arange(size) + 0.5) * 160 / size
    heights = (np.arange(size)[rows] + 0.5) * 210 / size
    ball = field[:, :, (columns > LEFT) & (columns < PADDLE)]
    light = ball.sum((1, 2))
    seen = np.where(light > 20.0, light, np.nan)
    x = ball.sum(1) @ columns[(columns > LEFT) & (columns < PADDLE)] / seen
    y = ball.sum(2) @ heights / seen
    ours = field[:, :, (columns > PADDLE) & (columns < RIGHT)].sum(2)
    return x, y, ours @ heights / np.maximum(ours.sum(1), 1.0)


def bounced(y: np.ndarray) -> np.ndarray:
    """Heights after the walls have thrown the ball back, wherever straight flight would end."""
    span = BOTTOM - TOP
    folded = np.mod(y - TOP, 2 * span)
    return TOP + np.minimum(folded, 2 * span - folded)


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """The chance that a positive one scores higher than a negative one; NaN without either."""
    positive, negative = score[label], score[~label]
    if not len(positive) or not len(negative):
        return float("nan")
    higher = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(higher)


def none_if_nan(number: float) -> float | None:
    """For JSON."""
    return None if np.isnan(number) else float(number)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| run | until env step | games | score | balls | returned | AUC | steered |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows:
        shares = [row["returned"], row["auc"], row["steered"]]
        shown = " | ".join("-" if share is None else f"{share:.2f}" for share in shares)
        lines.append(
            f"| {row['run']} | {row['env_steps']} | {row['games']} | {row['score']:.2f} "
            f"| {row['balls']} | {shown} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

"""Reports made up for tests: no sweep is trained for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuning.report.model import (
    Comparison,
    Estimate,
    GameScores,
    Report,
    Run,
    SampleScores,
    SweepScores,
)
from tuning.rows import Row

# Name: random, human.
ATARI = {
    "Alien": (227.8, 7127.7),
    "Amidar": (5.8, 1719.5),
    "Assault": (222.4, 742.0),
    "Asterix": (210.0, 8503.3),
    "BankHeist": (14.2, 753.1),
    "BattleZone": (2360.0, 37187.5),
    "Boxing": (0.1, 12.1),
    "Breakout": (1.7, 30.5),
    "ChopperCommand": (811.0, 7387.8),
    "CrazyClimber": (10780.5, 35829.4),
    "DemonAttack": (152.1, 1971.0),
    "Freeway": (0.0, 29.6),
    "Frostbite": (65.2, 4334.7),
    "Gopher": (257.6, 2412.5),
    "Hero": (1027.0, 30826.4),
    "Jamesbond": (29.0, 302.8),
    "Kangaroo": (52.0, 3035.0),
    "Krull": (1598.0, 2665.5),
    "KungFuMaster": (258.5, 22736.3),
    "MsPacman": (307.3, 6951.6),
    "Pong": (-20.7, 14.6),
    "PrivateEye": (24.9, 69571.3),
    "Qbert": (163.9, 13455.0),
    "RoadRunner": (11.5, 7845.0),
    "Seaquest": (68.4, 42054.7),
    "UpNDown": (533.4, 11693.2),
}
CLASSIC = {"CartPole-v1": (22.0, 475.0), "Acrobot-v1": (-498.0, -100.0), "Untold-v0": (None, None)}
LENGTH = 100_000


def row(progress: int, train_return: float | None, **changes: Any) -> Row:
    """One row, with every key that figures and page read."""
    return {
        "progress": progress,
        "env_steps": progress,
        "updates": progress // 4,
        "length": LENGTH,
        "finished": False,
        "seconds": progress / 20,
        "train_return": train_return,
        "evaluation_return": None,
        "evaluated_at": None,
    } | changes


def run(game: str, seed: int, *, goal: float, start: float, **changes: Any) -> Run:
    """A run of 40 rows from `start` towards `goal`, evaluated at a half and at its end."""
    noise = np.random.default_rng([seed, len(game), round(abs(goal))])
    rise = 1 / (1 + np.exp(-np.linspace(-4, 4, 40)))
    returns = start + (goal - start) * (rise + 0.04 * noise.standard_normal(40))
    rows = [row(LENGTH * (i + 1) // 40, float(value)) for i, value in enumerate(returns)]
    rows[0]["train_return"] = None
    for late in rows[19:]:
        late |= {"evaluated_at": rows[19]["progress"], "evaluation_return": float(returns[19])}
    rows[-1] |= {"evaluated_at": LENGTH, "evaluation_return": goal, "finished": True}
    told = {
        "game": game,
        "seed": seed,
        "sample": "",
        "settings": {},
        "folder": "part_01",
        "rows": rows,
    }
    return Run(**told | changes)


def game_scores(
    game: str, random: float | None, reference: float | None, *, runs: Sequence[Run]
) -> GameScores:
    """The line of one game."""
    scores = {run.seed: run.score for run in runs if run.game == game and run.score is not None}
    mean = float(np.mean(list(scores.values()))) if scores else None
    std = float(np.std(list(scores.values()), ddof=1)) if len(scores) > 1 else None
    scaled = None
    published = {}
    if random is not None and reference is not None:
        scaled = None if mean is None else (mean - random) / (reference - random)
        published = {
            "efficientzero": random + 1.2 * (reference - random),
            "bbf": random + 1.5 * (reference - random),
        }
    return GameScores(
        game=game,
        random=random,
        reference=reference,
        published=published,
        scores=scores,
        mean=mean,
        std=std,
        normalised=scaled,
    )


def sweep(
    games: dict[str, Any], seeds: int, *, name: str = "atari", skill: float = 1.0, **changes: Any
) -> SweepScores:
    """Every game with `seeds` finished runs, game `i` to about `skill * (i + 1) / 5`."""
    runs = []
    for index, (game, (random, reference)) in enumerate(games.items()):
        low, high = (random, reference) if random is not None else (0.0, 10.0)
        for seed in range(seeds):
            goal = low + skill * (index + 1 + 0.3 * seed) / 5 * (high - low)
            runs.append(run(game, seed, goal=goal, start=low))
    told: dict[str, Any] = {
        "name": name,
        "path": f"/sweeps/{name}",
        "preset": "atari100k",
        "env_steps": f"{LENGTH:,}",
        "protocol": "Mean return of 32 episodes with the final weights.",
        "runs": runs,
        "samples": [],
        "seconds": {"seconds": 5100.0, "training_seconds": 4800.0, "setup_seconds": 42.5},
    } | changes
    shown = [run for run in told["runs"] if run.sample == told.get("best_sample", "")]
    scores = [game_scores(game, *ends, runs=shown) for game, ends in games.items()]
    known = [game.normalised for game in scores if game.normalised is not None]
    middle = float(np.mean(known)) if known else float("nan")
    told.setdefault("aggregates", {key: around(middle) for key in KEYS} if known else {})
    return SweepScores(games=scores, **told)


KEYS = ("mean", "median", "iqm", "optimality_gap")


def around(value: float) -> Estimate:
    """With an interval."""
    return Estimate(value=value, low=value - 0.1, high=value + 0.2)


def report(*sweeps: SweepScores, **changes: Any) -> Report:
    """Of those sweeps."""
    told: dict[str, Any] = {
        "title": "Sweeps of a test",
        "suite": "atari100k",
        "reference_name": "human",
        "published": {
            "efficientzero": {key: Estimate(value=1.9426) for key in KEYS},
            "bbf": {key: Estimate(value=2.2474) for key in KEYS},
        },
        "comparisons": [],
        "sources": ["EfficientZero, https://arxiv.org/abs/2111.00210, table 1"],
        "made": "2026-11-22 with rllib_ez 0.5",
    } | changes
    return Report(sweeps=list(sweeps), **told)


def some(number: int) -> dict[str, tuple[float, float]]:
    """The first games of Atari 100k."""
    return dict(list(ATARI.items())[:number])


def searched() -> SweepScores:
    """A sweep that tried two samples of settings on CartPole."""
    settings = {"0badcafe": {"lr": 0.01}, "1f2e3d4c": {"lr": 0.1, "value_transform": "h"}}
    runs = [
        run("CartPole-v1", 0, goal=goal, start=20.0, sample=sample, settings=settings[sample])
        for sample, goal in (("0badcafe", 480.0), ("1f2e3d4c", 200.0))
    ]
    samples = [
        SampleScores(sample=sample, settings=chosen, num_finished=1, num_runs=1, normalised=scaled)
        for (sample, chosen), scaled in zip(settings.items(), (1.01, 0.39), strict=True)
    ]
    return sweep(
        {"CartPole-v1": CLASSIC["CartPole-v1"]},
        0,
        name="search",
        runs=runs,
        samples=samples,
        best_sample="0badcafe",
    )


def troubled() -> SweepScores:
    """One game each: failed, not started, without an episode, with one row, halfway."""
    games = some(5)
    names = list(games)
    told = {"start": 0.0, "goal": 10.0}
    runs = [
        run(
            names[0],
            0,
            **told,
            rows=[],
            error="RuntimeError: <script>alert('out')</script> \x1b[0m",
        ),
        run(names[1], 0, **told, rows=[]),
        run(names[2], 0, **told, rows=[row(500, None)]),
        run(names[3], 0, **told, rows=[row(2500, 300.0)]),
        run(names[4], 0, goal=500.0, start=14.2),
        run(names[4], 1, goal=500.0, start=14.2, rows=run(names[4], 1, **told).rows[:20]),
    ]
    return sweep(games, 0, runs=runs, notes=["5 of 6 runs are not finished"])


def comparison(first: str, second: str) -> Comparison:
    """Of two sweeps."""
    return Comparison(
        first=first,
        second=second,
        probability=Estimate(value=0.7, low=0.55, high=0.8),
        per_game={"Alien": 0.6, "Amidar": 0.8},
    )

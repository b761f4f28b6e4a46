"""The table of `benchmarks.ablations`: variants beside the whole, in numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import learning
from benchmarks.learning import bootstrap
from rllib_ez.runs.protocol import AtariRules, Protocol
from rllib_ez.runs.provenance import versions

FULL = "full"
COLUMNS = (
    "variant", "runs", "final return, mean", "every seed's final return", "solved",
    "mean over the curve", "final return minus full's", "mean over the curve minus full's",
    "training s, mean",
)  # fmt: skip
Row = dict[str, Any]


def compared(variant: str, rows: list[Row], full: list[Row] | None, solved: float) -> Row:
    """A variant's runs in numbers, and by how much they differ from the whole algorithm's."""
    final, curve = finals(rows), curve_means(rows)
    others = None if variant == FULL else full
    return {
        "variant": variant,
        "seeds": [row["seed"] for row in rows],
        "finals": final,
        "final_mean": float(np.mean(final)),
        "final_interval": bootstrap(final),
        "solved": sum(value >= solved for value in final),
        "curve_means": curve,
        "curve_mean": float(np.mean(curve)),
        "curve_interval": bootstrap(curve),
        "final_difference": difference(final, finals(others)) if others else None,
        "curve_difference": difference(curve, curve_means(others)) if others else None,
        "training_seconds": float(np.mean([row["training_seconds"] for row in rows])),
    }


def finals(rows: list[Row]) -> list[float]:
    """Each run's score: the mean return of the evaluation of its final weights."""
    return [row["final_return_mean"] for row in rows]


def curve_means(rows: list[Row]) -> list[float]:
    """Each run's mean height of the curve; see `curve_mean`."""
    return [learning.curve_mean(row["env_steps"], row["return_mean"]) for row in rows]


def difference(values: Sequence[float], others: Sequence[float]) -> Row:
    """By how much the means differ, with Welch's 95 % interval; None if a side is a single run.

        d +- t(0.975, nu) * sqrt(a + b),   a = var(values) / n,   b = var(others) / m
        nu = (a + b)^2 / (a^2 / (n - 1) + b^2 / (m - 1))

    Nothing wide where on neither side any two runs differ.
    """
    from scipy.stats import t

    sides = np.asarray(values, np.float64), np.asarray(others, np.float64)
    d = float(sides[0].mean() - sides[1].mean())
    if min(map(len, sides)) < 2:
        return {"mean": d, "interval": None}
    a, b = (side.var(ddof=1) / len(side) for side in sides)
    if a + b == 0.0:
        return {"mean": d, "interval": (d, d)}
    freedom = (a + b) ** 2 / (a**2 / (len(sides[0]) - 1) + b**2 / (len(sides[1]) - 1))
    half = float(t.ppf(0.975, freedom) * np.sqrt(a + b))
    return {"mean": d, "interval": (d - half, d + half)}


def notes(found: dict[str, list[Row]]) -> list[str]:
    """What a reader must know: how scores came about, and where settings are not as they seem."""
    sentences: dict[str, list[str]] = {}
    hashes: dict[str, list[str]] = {}
    for variant, rows in found.items():
        for sentence in {protocol_sentence(row) for row in rows}:
            sentences.setdefault(sentence, []).append(variant)
        for one in {row["config_hash"] for row in rows}:
            hashes.setdefault(one, []).append(variant)
    every = len(found)
    told = [s if len(v) == every else f"{', '.join(v)}: {s}" for s, v in sentences.items()]
    told += [f"Equal settings: {', '.join(v)}." for v in hashes.values() if len(v) > 1]
    told += [
        f"{variant}: return for return as {FULL} in each of its {len(rows)} runs; "
        "what it leaves out does nothing here."
        for variant, rows in found.items()
        if variant != FULL and are_alike(rows, found.get(FULL, []))
    ]
    mixed = [v for v, rows in found.items() if len({row["config_hash"] for row in rows}) > 1]
    return told + ([f"Settings differ between the seeds of {', '.join(mixed)}."] if mixed else [])


def are_alike(rows: list[Row], others: list[Row]) -> bool:
    """Whether each run has a run of the same seed among the others, with the same evaluations."""
    curves = {row["seed"]: (row["env_steps"], row["return_mean"]) for row in others}
    return all(curves.get(row["seed"]) == (row["env_steps"], row["return_mean"]) for row in rows)


def protocol_sentence(row: Row) -> str:
    """How the run was scored; each run has a seed of its own."""
    told = row["final"]["protocol"]
    named = {name: told[name] for name in ("weights", "episodes", "num_simulations")}
    atari = None if told["atari"] is None else AtariRules(**told["atari"])
    return Protocol(**named, seed=None, atari=atari).sentence


def table(summary: Row) -> str:
    """The variants as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in summary["variants"]:
        cells = [
            row["variant"],
            f"{len(row['finals'])} of {summary['runs_wanted']}",
            with_interval(row["final_mean"], row["final_interval"]),
            ", ".join(f"{value:.4g}" for value in row["finals"]),
            f"{row['solved']} of {len(row['finals'])}",
            with_interval(row["curve_mean"], row["curve_interval"]),
            *(
                with_interval(one["mean"], one["interval"], sign="+") if one else ""
                for one in (row["final_difference"], row["curve_difference"])
            ),
            f"{row['training_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", foot(summary), "", f"    {summary['command']}", ""])


def with_interval(value: float, interval: Sequence[float] | None, *, sign: str = "") -> str:
    """ "2.5 [2.1, 2.8]"."""
    ends = "" if interval is None else " [{:{s}.4g}, {:{s}.4g}]".format(*interval, s=sign)
    return f"{value:{sign}.4g}{ends}"


def foot(summary: Row) -> str:
    """How the numbers came about, and on what."""
    machines = [row["machine"] for row in summary["rows"]]
    commits = ", ".join(sorted({one["commit"] for one in machines}))
    return (
        f"{' '.join(summary['notes'])} Solved: a score >= {summary['solved_at']:g}. Mean over the "
        "curve: the area under a run's evaluations over their span in env steps. In brackets 95 % "
        "intervals over seeds: of means the percentile bootstrap (too narrow for few seeds: around "
        "5 normal draws it holds 84 %), of differences Welch's, none corrected for their number. "
        f"{machines[-1]['processor']}, {machines[-1]['cpus']} cores, {summary['parallel']} runs at "
        f"a time, one thread each; {versions(machines[-1])}, commit {commits}."
    )

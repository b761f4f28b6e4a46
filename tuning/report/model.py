"""What a report says, as data; `scores.py` computes it, tables, figures and the page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_ez.runs.protocol import BestCheckpoint, best_checkpoint
from tuning.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One trial, over all attempts at it."""

    game: str
    seed: int
    sample: str  # "" unless a search chose settings
    settings: Mapping[str, Any]  # those
    folder: str  # of its last attempt: path or URI
    rows: list[Row]  # joined: see `tuning.rows`
    error: str | None = None  # the last line of it, if the trial ended with one
    is_stopped: bool = False  # a scheduler gave it up: it is not to go on
    checkpoint: str | None = None  # the newest whole one, as the sweep's file system names it
    machines: list[dict[str, Any]] = field(default_factory=list)  # see `rllib_ez.runs.provenance`

    @property
    def is_finished(self) -> bool:
        """Whether it trained to its end."""
        return bool(self.rows) and bool(self.rows[-1]["finished"])

    @property
    def score(self) -> float | None:
        """The final weights' mean return in evaluation; None unless finished."""
        return self.rows[-1]["evaluation_return"] if self.is_finished else None

    @property
    def evaluations(self) -> dict[int, float]:
        """Mean return of every evaluation, by the progress at which it was."""
        found = {row["evaluated_at"]: row["evaluation_return"] for row in self.rows}
        return {at: mean for at, mean in found.items() if None not in (at, mean)}

    @property
    def best(self) -> BestCheckpoint | None:
        """The highest of them, which is never the score; None unless finished."""
        return best_checkpoint(self.evaluations) if self.is_finished else None

    @property
    def wall_seconds(self) -> float | None:
        """Of all attempts, set-up included; None before the first row."""
        if not self.rows or self.rows[-1]["seconds"] is None:
            return None
        return float(self.rows[-1]["seconds"] + (self.rows[-1].get("setup_seconds") or 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic with its 95 % interval, which is None where runs are too few for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameScores:
    """One line of the table of games."""

    game: str
    random: float | None
    reference: float | None  # human, or what the suite names
    published: Mapping[str, float]  # column: score
    scores: Mapping[int, float]  # seed: score of a finished run, or its best checkpoint's return
    mean: float | None  # of `scores`
    std: float | None  # sample standard deviation; None with fewer than two
    normalised: float | None  # of the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleScores:
    """Settings that a search chose, and how they did."""

    sample: str
    settings: Mapping[str, Any]
    num_finished: int
    num_runs: int
    normalised: float | None  # mean over games of the mean over seeds; None if no run is finished


@dataclass(frozen=True, slots=True, kw_only=True)
class BestScores:
    """Every finished run's highest evaluation in place of its last: biased upwards, no score."""

    title: str  # that says so, and of how many evaluations it is the highest
    games: list[GameScores]  # empty where every run was evaluated once: there is nothing to choose
    aggregates: Mapping[str, Estimate]  # the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How runs were made; those that were made alike share a line."""

    runs: list[tuple[str, int]]  # game and seed
    seconds: tuple[float, float] | None  # wall clock with set-up: the least and the most
    machines: tuple[int, ...]  # places in `Foot.machines`, from 1; several if it moved
    commits: tuple[str, ...]  # empty if not on record
    config_hashes: tuple[str, ...]  # the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Foot:
    """What stands below a table of scores: what made every run that it shows."""

    machines: list[str]  # hardware and versions, for people
    lines: list[Made]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepScores:
    """One sweep's part."""

    name: str  # of its folder
    path: str
    preset: str
    env_steps: str  # for people: "100,000", or a range where games differ
    protocol: str  # how a score is measured, for people
    games: list[GameScores]  # of the best sample, where there are samples
    samples: list[SampleScores]  # best first; empty without a search
    aggregates: Mapping[str, Estimate]  # "mean", "median", "iqm", "optimality_gap"; normalised
    runs: list[Run]  # all, also unfinished ones
    best_sample: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)  # mean a finished run: see rows.py
    notes: list[str] = field(default_factory=list)  # what a reader must know: runs left out, ...
    protocols: list[dict[str, Any]] = field(default_factory=list)  # `protocol`, for programs
    best: BestScores | None = None  # None without a finished run
    foot: Foot = field(default_factory=lambda: Foot(machines=[], lines=[]))

    @property
    def shown_runs(self) -> list[Run]:
        """Those of the best sample."""
        return [run for run in self.runs if run.sample == self.best_sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Probability that a run of `first` beats a run of `second` on a game that both played."""

    first: str
    second: str
    probability: Estimate
    per_game: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it."""

    title: str
    suite: str
    reference_name: str  # what 1.0 means: "human"
    published: Mapping[str, Mapping[str, Estimate]]  # column: aggregates over the games shown
    sweeps: list[SweepScores]
    comparisons: list[Comparison]
    sources: list[str]  # of constants and published columns
    made: str  # date and versions

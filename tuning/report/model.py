"""What a report says, as data; `scores.py` computes it, tables, figures and the page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    @property
    def is_finished(self) -> bool:
        """Whether it trained to its end."""
        return bool(self.rows) and bool(self.rows[-1]["finished"])

    @property
    def score(self) -> float | None:
        """The final weights' mean return in evaluation; None unless finished."""
        return self.rows[-1]["evaluation_return"] if self.is_finished else None


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
    scores: Mapping[int, float]  # seed: score of a finished run
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
class SweepScores:
    """One sweep's part."""

    name: str  # of its folder
    path: str
    preset: str
    env_steps: str  # for people: "100,000", or a range where games differ
    protocol: str  # one sentence: how a score is measured
    games: list[GameScores]  # of the best sample, where there are samples
    samples: list[SampleScores]  # best first; empty without a search
    aggregates: Mapping[str, Estimate]  # "mean", "median", "iqm", "optimality_gap"; normalised
    runs: list[Run]  # all, also unfinished ones
    best_sample: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)  # mean a finished run: see rows.py
    notes: list[str] = field(default_factory=list)  # what a reader must know: runs left out, ...

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

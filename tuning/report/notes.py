"""What a reader must know beside the numbers: which runs are left out, what scores are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tuning.report.model import Estimate, GameScores, Run

if TYPE_CHECKING:
    from tuning.reading import Sweep


def notes_on(
    sweep: Sweep,
    games: Sequence[GameScores],
    aggregates: Mapping[str, Estimate],
    *,
    num_compared: int,
) -> list[str]:
    """Sentences about one sweep, the gravest first.

    Args:
        sweep: of which all runs count, whatever their sample.
        games: as they are shown.
        aggregates: of those.
        num_compared: games that the published columns' aggregates are over; 0 without any.
    """
    return [
        *_failed(sweep),
        *_listed("unfinished", (_at(run) for run in sweep.runs if _is_broken_off(run))),
        *_listed("given up by the search", (_at(run) for run in sweep.runs if _is_given_up(run))),
        *_listed("not begun", _not_begun(sweep)),
        *_listed("finished without an evaluation", (_name(r) for r in sweep.runs if _is_blind(r))),
        *_on_aggregates(games, aggregates, num_compared=num_compared),
        *_on_samples(sweep, games),
    ]


def planned_runs(sweep: Sweep, sample: str) -> set[tuple[str, int]]:
    """Game and seed of all runs that a sample has or is to have."""
    there = {(run.game, run.seed) for run in sweep.runs if run.sample == sample}
    return there | {(g, seed) for g in sweep.order["games"] for seed in sweep.order["seeds"]}


def _failed(sweep: Sweep) -> list[str]:
    return [f"failed: {_at(r)}: {r.error}" for r in sweep.runs if r.error and not r.is_finished]


def _is_broken_off(run: Run) -> bool:
    return not run.is_finished and not run.error and not run.is_stopped


def _is_given_up(run: Run) -> bool:
    return run.is_stopped and not run.is_finished and not run.error


def _is_blind(run: Run) -> bool:
    return run.is_finished and run.score is None


def _not_begun(sweep: Sweep) -> list[str]:
    """Of the samples that are known; what a search has not chosen yet has no name."""
    samples = dict.fromkeys(run.sample for run in sweep.runs)
    if not samples and not sweep.order.get("search"):
        samples = {"": None}
    there = {(run.game, run.seed, run.sample) for run in sweep.runs}
    return [
        _title(game, seed, sample)
        for sample in samples
        for game in sweep.order["games"]
        for seed in sweep.order["seeds"]
        if (game, seed, sample) not in there
    ]


def _on_aggregates(
    games: Sequence[GameScores], aggregates: Mapping[str, Estimate], *, num_compared: int
) -> list[str]:
    without = [one.game for one in games if one.scores and one.normalised is None]
    notes = _listed("not normalised, for want of a random and a reference score", without)
    if not aggregates:
        return notes
    counted = sum(one.normalised is not None for one in games)
    if counted < len(games):
        notes.append(f"aggregates are over {counted} of {len(games)} games")
    if num_compared != counted and any(one.published for one in games):
        notes.append(
            f"aggregates of published columns are over other games, {num_compared} of them"
        )
    if all(estimate.low is None for estimate in aggregates.values()):
        notes.append("no intervals: they need a game with two finished runs")
    return notes


def _on_samples(sweep: Sweep, games: Sequence[GameScores]) -> list[str]:
    samples = {run.sample for run in sweep.runs}
    if len(samples) < 2:
        return []
    notes = [
        f"the best of {len(samples)} samples, chosen by the very runs that are shown: new runs "
        "of it may well score less"
    ]
    if any(one.scores for one in games) and all(one.normalised is None for one in games):
        notes.append("samples are ranked by raw returns: no game has reference scores")
    return notes


def _listed(what: str, names: Iterable[str]) -> list[str]:
    found = list(names)
    return [f"{what}: {', '.join(found)}"] if found else []


def _at(run: Run) -> str:
    if not run.rows:
        return f"{_name(run)} (nothing reported)"
    last = run.rows[-1]
    of = "" if last["length"] is None else f" of {last['length']:,}"
    return f"{_name(run)} (at {last['progress']:,}{of})"


def _name(run: Run) -> str:
    return _title(run.game, run.seed, run.sample)


def _title(game: str, seed: int, sample: str) -> str:
    return f"{game} seed {seed}" + (f" sample {sample}" if sample else "")

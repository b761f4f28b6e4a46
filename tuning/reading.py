"""A sweep's folder, read without Ray: what all attempts at a trial reported, as one run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.errors import CheckpointError
from rllib_ez.runs.provenance import MACHINE, Machines, machines_in
from tuning.report.model import Run
from tuning.rows import ROW_KEYS, Row, joined
from tuning.specs import TrialSpec
from tuning.storage import Folder
from tuning.suites import Game, Suite, load_suite

SWEEP, PARAMS, RESULTS, ERROR = "sweep.yaml", "params.json", "result.json", "error.txt"
CHECKPOINT_ROWS = "rows.jsonl"
FORMAT = 1  # of sweep.yaml
STOPPED = "stopped.json"  # of a trial that a scheduler stopped
CUSTOM = "custom"  # the suite of games from several suites, or from none
_FILES_AT_ONCE = 8  # a store far away answers slowly, but several at once
_NEEDED = {"attempt", "resumed_at", "progress"}  # of a row, to be joined with others


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All that a sweep's folder tells."""

    name: str  # of the folder
    path: str  # as it was given, without a key or password
    suite: Suite
    order: Mapping[str, Any]  # sweep.yaml
    runs: list[Run]  # that left something behind; in order of games, seeds and samples
    num_parts: int = 0  # experiments of Tune


def read_sweep(uri: str | Path) -> Sweep:
    """Reads a sweep, also one that is still running or was broken off.

    Args:
        uri: its folder: a local path, or a URI that pyarrow.fs opens.

    Raises:
        SettingError: no store has such a URI, or the suite's own file is not there any more.
        CheckpointError: the folder holds no sweep, or one of a newer version.
    """
    folder = Folder.at(uri, option="sweep")
    order = _order(folder)
    trials: dict[str, list[Folder]] = {}
    parts = folder.folders(r"part_\d+")
    for part in parts:
        for attempt in part.folders():
            trials.setdefault(attempt.name, []).append(attempt)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        found = pool.map(lambda attempts: _run(attempts, order), trials.values())
    runs = [run for run in found if run is not None]
    games = {game: place for place, game in enumerate(order["games"])}
    runs.sort(key=lambda run: (games.get(run.game, len(games)), run.game, run.seed, run.sample))
    name = folder.name or folder.shown
    return Sweep(
        name=name,
        path=folder.shown,
        suite=suite_of(order["suite"], order["games"]),
        order=order,
        runs=runs,
        num_parts=len(parts),
    )


def rows_of(text: str | None) -> list[Row]:
    """The rows of result.json or rows.jsonl; lines cut short by a kill are passed over."""
    parsed = [_parsed(line) for line in (text or "").split("\n")]
    return [
        {key: row.get(key) for key in ROW_KEYS}
        for row in parsed
        if isinstance(row, dict) and row.keys() >= _NEEDED
    ]


def _order(folder: Folder) -> dict[str, Any]:
    text = folder.text(SWEEP)
    if text is None:
        raise CheckpointError(
            f"sweep must hold {SWEEP}, got {folder.shown!r}: no sweep is there; give the folder "
            "that `ez tune --out` wrote"
        )
    try:
        order = yaml.safe_load(text)
    except yaml.YAMLError:
        order = None
    if not isinstance(order, dict) or not {"format", "suite", "games", "seeds"} <= order.keys():
        raise CheckpointError(
            f"{SWEEP} must hold format, suite, games and seeds, got another text in "
            f"{folder.shown!r}; put back what `ez tune` wrote"
        )
    if order["format"] != FORMAT:
        raise CheckpointError(
            f"{SWEEP} must be of format {FORMAT}, got {order['format']!r} in {folder.shown!r}; "
            "use the version of rllib_ez that wrote it, or a newer one"
        )
    return order


def suite_of(name: str, games: Sequence[str]) -> Suite:
    """The sweep's suite. No environment is made: a report may be read where none is installed."""
    if name != CUSTOM:
        return load_suite(name)
    homes = [load_suite(one) for one in ("atari57", "classic")]
    known = {game.name: (game, home) for home in homes for game in home.games}
    here = [known[game][1] for game in games if game in known]
    homes = [home for home in homes if home in here]
    return Suite(
        name=CUSTOM,
        reference_name=" or ".join(home.reference_name for home in homes) or "reference",
        games=tuple(
            known[game][0] if game in known else Game(name=game, env=game) for game in games
        ),
        published={column: by for home in homes for column, by in home.published.items()},
        sources=tuple(source for home in homes for source in home.sources),
    )


def _run(attempts: Sequence[Folder], order: Mapping[str, Any]) -> Run | None:
    """One trial; None if it left nothing that tells its game."""
    rows, checkpoint, machines = _joined_rows(attempts)
    spec = _spec(attempts, order)
    if spec is None and not rows:
        return None
    last = rows[-1] if rows else {}
    return Run(
        game=last["game"] if spec is None else spec.game,
        seed=last["seed"] if spec is None else spec.seed,
        sample=last["sample"] or "" if spec is None else spec.sample,
        settings={} if spec is None else spec.settings,
        folder=attempts[-1].shown,
        rows=rows,
        error=None if last.get("finished") else last_line(attempts[-1].text(ERROR)),
        is_stopped=attempts[-1].text(STOPPED) is not None,
        checkpoint=checkpoint,
        machines=machines,
    )


def _joined_rows(attempts: Sequence[Folder]) -> tuple[list[Row], str | None, Machines]:
    """Rows of the newest checkpoint, which no kill cuts short, then those reported after it.

    Returns:
        The rows, where that checkpoint is, and on which machines it came about.
    """
    kept: list[Row] = []
    newest: Folder | None = None
    kept_by = 0  # place of the attempt that has the newest checkpoint
    for place, attempt in enumerate(attempts):
        for checkpoint in attempt.folders(r"checkpoint_\d+"):
            rows = rows_of(checkpoint.text(CHECKPOINT_ROWS)) if checkpoint.is_whole() else []
            if rows and (not kept or rows[-1]["progress"] >= kept[-1]["progress"]):
                kept, kept_by = rows, place
                newest = checkpoint
    beside, *later = [rows_of(attempt.text(RESULTS)) for attempt in attempts[kept_by:]]
    after = [row for rows in later for row in rows]
    if newest is None:
        return joined(beside + after), None, []
    progress = kept[-1]["progress"]
    reported = joined(_not_before(kept[-1], beside) + after)
    rows = kept + [row for row in reported if row["progress"] > progress]
    return rows, newest.path, machines_in(newest.text(MACHINE))


def _not_before(saved: Row, reported: list[Row]) -> list[Row]:
    """What was reported beside a checkpoint, without the processes that ended before it.

    They were taken back, though the rows that say so may be lost.

    Args:
        saved: the checkpoint's last row.
        reported: in the order in which they were written.
    """
    own = (place for place, row in enumerate(reported) if row["attempt"] == saved["attempt"])
    first = next(own, None)
    if first is not None:
        return reported[first:]
    return [row for row in reported if row["resumed_at"] >= saved["progress"]]


def _spec(attempts: Sequence[Folder], order: Mapping[str, Any]) -> TrialSpec | None:
    for attempt in reversed(attempts):
        params = _parsed(attempt.text(PARAMS))
        if isinstance(params, dict) and {"game", "seed"} <= params.keys():
            settings = params.get("settings") or {}
            return TrialSpec(game=params["game"], seed=params["seed"], settings=settings)
    planned = (TrialSpec(game=g, seed=s) for g in order["games"] for s in order["seeds"])
    return next((spec for spec in planned if spec.name == attempts[0].name), None)


def last_line(text: str | None) -> str | None:
    """The last one that is not blank; None if there is none."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else None


def _parsed(text: str | None) -> Any:
    """JSON with null for NaN and infinity; None if it is none, or cut short."""
    try:
        return json.loads(text or "", parse_constant=lambda _: None)
    except ValueError:
        return None

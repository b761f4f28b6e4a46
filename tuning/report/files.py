"""A report as files: tables for other programs, and everything as JSON.

rows.csv, rows.parquet   a line for every row of every run: see `tuning.rows`
scores.csv               a line for every score: of a run, a published column, random, reference
aggregates.csv           a line for every statistic of a sweep or a published column
                         (in both, lines of kind best_checkpoint are beside the scores, and none)
report.json              all but the rows, and the names of the files that belong to the report
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from tuning.report.model import GameScores, Report, Run, SweepScores
from tuning.report.scores import over_training
from tuning.rows import ROW_KEYS
from tuning.storage import Folder

_Of = TypeVar("_Of")
JSON, FORMAT = "report.json", 1
_TEXTS = {"game", "sample", "attempt"}
_COUNTS = {
    *("seed", "resumed_at", "progress", "length", "env_steps", "updates", "train_episodes"),
    *("evaluated_at", "replay_bytes"),
}
_SCORES = ("source", "kind", "game", "seed", "sample", "score", "normalised")
_AGGREGATES = ("source", "kind", "statistic", "value", "low", "high")


def write_files(report: Report, folder: Path) -> list[Path]:
    """Writes the four tables, then report.json, which also names what else is in the folder.

    Args:
        report: what they tell.
        folder: one that is there; see `whole_folder`.

    Returns:
        The paths of these five.
    """
    rows = list(_rows(report))
    pq.write_table(pa.Table.from_pylist(rows, _schema()), folder / "rows.parquet")
    for row in rows:
        row["evaluation_returns"] = " ".join(map(repr, row["evaluation_returns"] or []))
    _write_csv(folder / "rows.csv", ("sweep", *ROW_KEYS), rows)
    _write_csv(folder / "scores.csv", _SCORES, list(_scores(report)))
    _write_csv(folder / "aggregates.csv", _AGGREGATES, list(_aggregates(report)))
    files = sorted({path.name for path in folder.iterdir()} | {JSON})
    text = json.dumps(as_json(report) | {"files": files}, indent=1, allow_nan=False)
    (folder / JSON).write_text(text + "\n")
    tables = ("rows.csv", "rows.parquet", "scores.csv", "aggregates.csv", JSON)
    return [folder / name for name in tables]


def as_json(report: Report) -> dict[str, Any]:
    """The report in what JSON knows, without rows."""
    return {
        "format": FORMAT,
        "title": report.title,
        "suite": report.suite,
        "reference_name": report.reference_name,
        "made": report.made,
        "sweeps": [_sweep_as_json(sweep) for sweep in report.sweeps],
        "published": {
            column: {name: estimate.value for name, estimate in estimates.items()}
            for column, estimates in report.published.items()
        },
        "comparisons": [asdict(comparison) for comparison in report.comparisons],
        "sources": report.sources,
    }


@contextmanager
def whole_folder(out: str | Path) -> Iterator[Path]:
    """An empty folder to write in; at the end all its files go to `out`, whole or not at all.

    What an earlier report has left there, and this one lacks, is deleted; other files stay.

    Args:
        out: a local path, or a URI that pyarrow.fs opens; made if it is not there.

    Raises:
        SettingError: no store has such a URI.
        OSError: it cannot be written; all is as it was before.
    """
    target = Folder.at(out)
    with TemporaryDirectory(prefix="ez-report-") as folder:
        yield Path(folder)
        _put(sorted(Path(folder).iterdir()), target)


def _put(paths: Sequence[Path], target: Folder) -> None:
    store, names = target.filesystem, [path.name for path in paths]
    store.create_dir(target.path, recursive=True)
    drafts = {name: f"{target.path}/.{name}.draft" for name in names}
    outdated = _files_of_report(target) - set(names)
    try:
        for path in paths:
            with store.open_output_stream(drafts[path.name], compression=None) as stream:
                stream.write(path.read_bytes())
    except Exception:
        for draft in drafts.values():
            with suppress(OSError):  # most were not begun
                store.delete_file(draft)
        raise
    for name, draft in drafts.items():
        store.move(draft, f"{target.path}/{name}")
    for name in outdated:
        with suppress(OSError):  # somebody may have deleted it
            store.delete_file(f"{target.path}/{name}")


def _files_of_report(target: Folder) -> set[str]:
    """Names of the files of the report that is there."""
    try:
        with target.filesystem.open_input_file(f"{target.path}/{JSON}") as file:
            names = json.loads(file.read())["files"]
        return {name for name in names if Path(name).name == name}
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return set()


def _schema() -> pa.Schema:
    kinds = dict.fromkeys(ROW_KEYS, pa.float64())
    kinds |= dict.fromkeys(_TEXTS, pa.string()) | dict.fromkeys(_COUNTS, pa.int64())
    kinds |= {"finished": pa.bool_(), "evaluation_returns": pa.list_(pa.float64())}
    return pa.schema([("sweep", pa.string()), *((name, kinds[name]) for name in ROW_KEYS)])


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for sweep in report.sweeps:
        for run in sweep.runs:
            yield from ({"sweep": sweep.name} | row for row in run.rows)


def _scores(report: Report) -> Iterator[dict[str, Any]]:
    for sweep in report.sweeps:
        source = {"source": sweep.name, "sample": sweep.best_sample}
        for kind, games in _kinds(sweep, lambda one: one.games):
            for game in games:
                for seed, score in game.scores.items():
                    yield source | _score(game, score) | {"seed": seed, "kind": kind}
    games = {game.game: game for sweep in report.sweeps for game in sweep.games}
    for game in games.values():
        constants = {"random": game.random, report.reference_name: game.reference}
        for name, constant in constants.items():
            if constant is not None:
                yield {"source": name, "kind": "constant"} | _score(game, constant)
        for column, score in game.published.items():
            yield {"source": column, "kind": "published"} | _score(game, score)


def _kinds(sweep: SweepScores, of: Callable[[Any], _Of]) -> list[tuple[str, _Of]]:
    """Something of the table of final weights, and of that of best checkpoints if there is one."""
    best = [] if sweep.best is None else [("best_checkpoint", of(sweep.best))]
    return [("sweep", of(sweep)), *best]


def _score(game: GameScores, score: float) -> dict[str, Any]:
    share = None
    if game.random is not None and game.reference is not None:
        share = (score - game.random) / (game.reference - game.random)
    return {"game": game.game, "score": score, "normalised": share}


def _aggregates(report: Report) -> Iterator[dict[str, Any]]:
    ours = [
        (sweep.name, kind, found)
        for sweep in report.sweeps
        for kind, found in _kinds(sweep, lambda one: one.aggregates)
    ]
    theirs = [(column, "published", found) for column, found in report.published.items()]
    for source, kind, estimates in [*ours, *theirs]:
        for name, estimate in estimates.items():
            yield {"source": source, "kind": kind, "statistic": name} | asdict(estimate)


def _sweep_as_json(sweep: SweepScores) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "path": sweep.path,
        "preset": sweep.preset,
        "env_steps": sweep.env_steps,
        "protocol": sweep.protocol,
        "protocols": sweep.protocols,
        "best_sample": sweep.best_sample,
        "games": [asdict(game) for game in sweep.games],
        "samples": [asdict(sample) for sample in sweep.samples],
        "aggregates": {name: asdict(estimate) for name, estimate in sweep.aggregates.items()},
        "best_checkpoint": None if sweep.best is None else asdict(sweep.best),
        "foot": asdict(sweep.foot),
        "seconds": dict(sweep.seconds),
        "over_training": over_training(sweep.seconds),
        "notes": sweep.notes,
        "runs": [_run_as_json(run) for run in sweep.runs],
    }


def _run_as_json(run: Run) -> dict[str, Any]:
    last: Mapping[str, Any] = run.rows[-1] if run.rows else {}
    return {
        "game": run.game,
        "seed": run.seed,
        "sample": run.sample,
        "settings": dict(run.settings),
        "folder": run.folder,
        "finished": run.is_finished,
        "given_up": run.is_stopped,
        "score": run.score,
        "best_checkpoint": None if run.best is None else asdict(run.best),
        "error": run.error,
        "progress": last.get("progress"),
        "length": last.get("length"),
        "seconds": last.get("seconds"),
        "wall_seconds": run.wall_seconds,
        "machines": run.machines,
    }


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

"""Synthetic sweep folders: what `ez tune` leaves behind, kills included."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tuning.reading import FORMAT
from tuning.rows import Row
from tuning.specs import TrialSpec

LENGTH, EVERY = 100, 10  # env steps of a run, and between its rows
CARTPOLE = TrialSpec(game="CartPole-v1", seed=0)
LEARNING_RATES = (0.01, 0.02)


def write_order(folder: Path, **changes: Any) -> Path:
    """Writes sweep.yaml: by default classic games, two seeds, no search."""
    order: dict[str, Any] = {
        "format": FORMAT,
        "suite": "classic",
        "games": ["CartPole-v1", "Acrobot-v1"],
        "seeds": [0, 1],
        "presets": ["control"],
        "assignments": [],
        "env_steps": LENGTH,
        "search": None,
    } | changes
    plan = {
        "env_steps": LENGTH,
        "presets": order["presets"],
        "settings": {"evaluation_duration": 5},
    }
    order.setdefault("plans", dict.fromkeys(order["games"], plan))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(order))
    return folder


def row(spec: TrialSpec, progress: int, *, attempt: str = "a", **changes: Any) -> Row:
    """One row; a finished one is evaluated."""
    values = {
        "game": spec.game,
        "seed": spec.seed,
        "sample": spec.sample,
        "attempt": attempt,
        "resumed_at": 0,
        "progress": progress,
        "length": LENGTH,
        "env_steps": progress,
        "updates": progress // 2,
        "finished": progress == LENGTH,
        "seconds": progress / 10,
        "setup_seconds": 3.0,
        "training_seconds": progress / 20,
        "evaluation_seconds": progress / 50,
        "train_episodes": 1,
        "train_return": float(progress),
        "evaluation_return": 2.0 * progress if progress == LENGTH else None,
        "evaluation_returns": [progress * 1.0, progress * 3.0] if progress == LENGTH else [],
        "evaluated_at": progress if progress == LENGTH else None,
        "return": float(progress),
        "normalised_return": progress / 475,
        "total_loss": 1 / progress,
        "replay_bytes": 1000 * progress,
    }
    assert values.keys() >= changes.keys()
    return values | changes


def rows(spec: TrialSpec, until: int = LENGTH, *, since: int = 0, **changes: Any) -> list[Row]:
    """Those with since < progress <= until."""
    return [row(spec, at, **changes) for at in range(since + EVERY, until + 1, EVERY)]


def write_attempt(
    folder: Path,
    spec: TrialSpec,
    rows: Sequence[Row],
    *,
    part: int = 1,
    error: str | None = None,
    cut: int = 0,
) -> Path:
    """Appends to a trial's folder in a part; of the text of its rows the last `cut` are lost."""
    trial = folder / f"part_{part:02d}" / spec.name
    trial.mkdir(parents=True, exist_ok=True)
    (trial / "params.json").write_text(json.dumps(spec.as_config()))
    lines = (json.dumps(as_by_tune(row, number)) for number, row in enumerate(rows, 1))
    text = "".join(f"{line}\n" for line in lines)
    with (trial / "result.json").open("a") as file:
        file.write(text[: len(text) - cut])
    if error is not None:
        (trial / "error.txt").write_text(error)
    return trial


def as_by_tune(row: Row, iteration: int) -> dict[str, Any]:
    """A row with what Tune adds."""
    return dict(row) | {
        "trial_id": "1a2b_00000",
        "training_iteration": iteration,
        "timestamp": 1_800_000_000 + iteration,
        "config": {"game": row["game"]},
        "done": row["finished"],
    }


def write_checkpoint(
    trial: Path,
    number: int,
    rows: Sequence[Row],
    *,
    is_whole: bool = True,
    machines: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """A checkpoint in a trial's folder; one that is not whole lacks the end of a file."""
    checkpoint = trial / f"checkpoint_{number:06d}"
    (checkpoint / "agent").mkdir(parents=True)
    (checkpoint / "agent" / "weights.pt").write_bytes(b"weights")
    (checkpoint / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if machines:  # those of older versions have none
        (checkpoint / "machine.json").write_text(json.dumps(list(machines)))
    files = {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in checkpoint.rglob("*")
        if path.is_file()
    }
    (checkpoint / "manifest.json").write_text(json.dumps({"files": files}))
    if not is_whole:
        (checkpoint / "agent" / "weights.pt").write_bytes(b"wei")
    return checkpoint


def write_finished(
    folder: Path, scores: Mapping[str, Sequence[float | None]], **settings: Any
) -> Path:
    """A finished trial for every score: game: one a seed, None for a seed that is left out."""
    for game, of_seeds in scores.items():
        for seed, score in enumerate(of_seeds):
            spec = TrialSpec(game=game, seed=seed, settings=settings)
            if score is not None:
                last = row(spec, LENGTH, evaluation_return=score, normalised_return=None)
                write_attempt(folder, spec, [*rows(spec, LENGTH - EVERY), last | {"return": score}])
    return folder


def write_killed(folder: Path) -> Path:
    """A sweep that was killed twice; CartPole's seeds are finished, Acrobot's are not.

    CartPole, seed 0: killed after its checkpoint at 60; result.json lost all after 40, and half
    a line. Goes on in part 2. Seed 1: the checkpoint at 70 is cut short, so part 2 goes on from
    50 and repeats rows; there an environment raised, and part 3 finished it.
    Acrobot, seed 0: raised. Seed 1: has not begun.
    """
    write_order(folder)
    first, second = CARTPOLE, TrialSpec(game="CartPole-v1", seed=1)
    trial = write_attempt(folder, first, rows(first, 50), cut=30)
    write_checkpoint(trial, 1, rows(first, 60))
    write_attempt(folder, first, rows(first, since=60, attempt="b", resumed_at=60), part=2)
    trial = write_attempt(folder, second, rows(second, 80))
    write_checkpoint(trial, 0, rows(second, 50))
    write_checkpoint(trial, 1, rows(second, 70), is_whole=False)
    again = rows(second, 90, since=50, attempt="b", resumed_at=50)
    trial = write_attempt(folder, second, again, part=2, error="Traceback\nValueError: oh\n")
    write_checkpoint(trial, 0, [*rows(second, 50), *again])
    last = rows(second, since=90, attempt="c", resumed_at=90)
    write_attempt(folder, second, last, part=3)
    failed = TrialSpec(game="Acrobot-v1", seed=0)
    write_attempt(folder, failed, rows(failed, 30), error="Failure # 1\nRuntimeError: no luck\n\n")
    return folder


def write_search(folder: Path) -> Path:
    """Two samples on two games and one seed: the second scores more; a third is unfinished."""
    space = {"lr": {"log": [0.001, 0.1]}}
    search = {"method": "random", "asha": None, "space": space, "num_samples": 3}
    write_order(folder, seeds=[0], search=search)
    write_finished(folder, {"CartPole-v1": [100.0], "Acrobot-v1": [-400.0]}, lr=LEARNING_RATES[0])
    write_finished(folder, {"CartPole-v1": [200.0], "Acrobot-v1": [-300.0]}, lr=LEARNING_RATES[1])
    write_finished(folder, {"CartPole-v1": [500.0]}, lr=0.03)
    return folder

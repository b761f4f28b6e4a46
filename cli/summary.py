"""What came of a run, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rllib_ez.runs.folder import CURVE, TENSORBOARD
from rllib_ez.runs.protocol import BestCheckpoint, Weights, best_checkpoint
from rllib_ez.runs.status import clock_time, number

if TYPE_CHECKING:
    from rllib_ez.runs.training import Training


def summary_of(training: Training, *, wall_seconds: float) -> dict[str, Any]:
    """The run in numbers; `return_mean` is null if nothing was evaluated.

    `return_mean` is of the final weights where `protocol` says so, else of the last evaluation.
    `best_checkpoint` is no score: it is the highest of all evaluations.
    """
    returns, folder = training.returns, training.folder
    best = best_checkpoint(training.evaluations)
    weights: Weights = "final" if training.is_finished else "checkpoint"
    return {
        "env": training.plan.env,
        "seed": training.plan.settings["seed"],
        "env_steps": training.env_steps,
        "updates": training.updates,
        "wall_seconds": round(wall_seconds, 1),
        "training_seconds": round(training.training_seconds, 1),  # without set-up and evaluation
        "return_mean": sum(returns) / len(returns) if returns else None,
        "returns": returns,
        "evaluated_at": training.evaluated_at if returns else None,
        "best_checkpoint": None if best is None else asdict(best),
        "protocol": replace(training.evaluator.protocol, weights=weights).as_json(),
        "train_return_mean": training.status.train_return,
        "finished": training.is_done,
        "checkpoint": str(training.checkpoint),
        "out": str(folder),
        "curve": str(folder / CURVE),
        "tensorboard": str(folder / TENSORBOARD),
    }


def summary_table(summary: dict[str, Any]) -> Table:
    """The same as a table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    returns = summary["returns"]
    played = "none"
    if returns:
        span = f"{number(min(returns))} to {number(max(returns))}"
        played = f"{number(summary['return_mean'])} ({span}, {len(returns)} episodes)"
    best, protocol = summary["best_checkpoint"], summary["protocol"]
    seconds = summary["wall_seconds"]
    rows = {
        "final weights" if protocol["weights"] == "final" else "last evaluation": played,
        "best checkpoint": "none" if best is None else best_of(BestCheckpoint(**best)),
        "training return": number(summary["train_return_mean"]),
        "env steps": f"{summary['env_steps']:,}",
        "updates": f"{summary['updates']:,}",
        "time": clock_time(seconds),
        "protocol": protocol["sentence"],
        "checkpoint": summary["checkpoint"],
        "curve": summary["curve"],
        "TensorBoard": f"tensorboard --logdir {summary['tensorboard']}",
        "evaluate it": f"ez evaluate {summary['out']}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def best_of(best: BestCheckpoint) -> str:
    """The best checkpoint, with what it is the best of."""
    return f"{number(best.return_mean)} at {best.at:,} ({best.words})"

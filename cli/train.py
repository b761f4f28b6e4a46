"""`ez train`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.errors import cause_of, one_line
from rllib_ez.errors import SettingError, WorkerLostError

if TYPE_CHECKING:
    from cli.order import Order
    from rllib_ez.algorithm.algorithm import EfficientZero
    from rllib_ez.runs.training import Training

EXAMPLES = """[bold]Examples[/]

ez train --env cartpole

ez train --game pong --env-steps 2000 --out runs/pong

ez train --env CartPole-v1 --preset no_consistency --set num_simulations=16 --seed 1

ez train --resume runs/pong --env-steps 4000 --max-seconds 3600

ez train --from-trial sweeps/atari100k/Pong-seed-0

ez train --game pong --from-episodes runs/pong --env-steps 0 --updates 10000

ez train --game pong --address auto --num-env-runners 16 --num-replay-shards 2
"""


@one_line
def train(
    env: Annotated[
        str | None, typer.Option(help="A preset (cartpole), a game (pong) or a Gymnasium id.")
    ] = None,
    game: Annotated[str | None, typer.Option(help="An Atari game, such as pong.")] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="A recipe or overlay on top, repeatable. [dim]ez info[/] lists them."),
    ] = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, repeatable; YAML values."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same run; 0 if not given.")] = None,
    env_steps: Annotated[
        int | None, typer.Option(help="How long to train; 0 with --updates: no env steps at all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Its folder; runs/ENV-SEED-TIME if not given.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run: its folder or a checkpoint in it.")
    ] = None,
    from_trial: Annotated[
        Path | None,
        typer.Option(metavar="DIR/TRIAL", help="Repeat a trial of a sweep, alone."),
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Env steps between evaluations; 0: only at the end.")
    ] = None,
    evaluation_episodes: Annotated[int | None, typer.Option(help="Episodes of each.")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Env steps between checkpoints; 0: only at the end.")
    ] = None,
    keep_checkpoints: Annotated[
        int | None, typer.Option(help="How many stay, the newest; 2 if not given.")
    ] = None,
    episodes: Annotated[
        bool, typer.Option(help="Archive every finished episode in the run's folder.")
    ] = True,
    from_episodes: Annotated[
        str | None,
        typer.Option(metavar="RUN|DIR|URI", help="Fill replay from an archive of episodes."),
    ] = None,
    updates: Annotated[
        int | None, typer.Option(help="Made from the archive before the first env step.")
    ] = None,
    num_env_runners: Annotated[
        int | None, typer.Option(help="Processes that act; 0: this one, repeatable to the bit.")
    ] = None,
    num_learners: Annotated[
        int | None, typer.Option(help="Processes that learn; 0: this one.")
    ] = None,
    num_reanalyse_actors: Annotated[
        int | None, typer.Option(help="Processes that search old positions; 0: where replay is.")
    ] = None,
    num_replay_shards: Annotated[
        int | None, typer.Option(help="Processes that hold replay; 0: this one.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT", help="A Ray cluster that is up; else this machine alone."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of torch; 0: as it likes.")] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="From the start of the command; then saves a checkpoint and ends."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Trains an agent, evaluates it, draws its learning curve. Ctrl-C saves a checkpoint."""
    from cli.order import begun, check_alone, repeated, resumed

    started = time.monotonic()
    if max_seconds is not None and not max_seconds > 0:
        raise SettingError(f"max_seconds must be > 0, got {max_seconds:g}")
    deadline = math.inf if max_seconds is None else started + max_seconds
    console = Console(stderr=True, highlight=False)
    mutable = {
        "env_steps": env_steps,
        "evaluate_every": evaluate_every,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
        "evaluation_duration": evaluation_episodes,
        "num_offline_updates": updates,
    }
    fixed = {
        "seed": seed,
        "from_episodes": from_episodes,
        "num_env_runners": num_env_runners,
        "num_learners": num_learners,
        "num_reanalyse_actors": num_reanalyse_actors,
        "num_replay_shards": num_replay_shards,
        "threads": threads,
    }
    settings = [*(assignment or []), *([] if episodes else ["episode_archive=null"])]
    choice = {"env": env, "game": game, "preset": preset or []}
    if from_trial is not None:
        check_alone("from-trial", {**choice, "resume": resume})
        order = repeated(from_trial, settings, fixed | mutable, out, address=address)
    elif resume is not None:
        named = {"env": env, "game": game, "preset": preset, "set": assignment, "out": out}
        refused = named | fixed | {"no-episodes": not episodes}
        order = resumed(resume, refused, mutable, address=address)
    else:
        order = begun(choice, settings, fixed | mutable, out, address=address)
    status = carry_out(order, console, started=started, deadline=deadline, as_json=as_json)
    raise typer.Exit(status)


def carry_out(
    order: Order, console: Console, *, started: float, deadline: float, as_json: bool
) -> int:
    """Trains; returns the exit code."""
    from cli.building import built
    from cli.stopping import StopRequest
    from cli.summary import summary_of, summary_table
    from rllib_ez.core.progress import read_progress
    from rllib_ez.runs.folder import CURVE

    announce(order, console)
    with ExitStack() as stack:
        algo = stack.enter_context(built(order, console))
        stop = stack.enter_context(StopRequest(deadline=deadline))
        training = stack.enter_context(ready(order, algo, console))
        if order.address is not None and algo.config.num_replay_shards and not order.resume_from:
            training.save()  # a folder that not every shard can see is told now, not in hours
        try:
            training.run(stop)
        except Exception as error:
            lost = cause_of(error)
            if isinstance(lost, WorkerLostError):
                raise with_way_on(lost, order.folder) from error
            raise
        is_finished = training.is_finished
        summary = summary_of(training, wall_seconds=time.monotonic() - started)
    draw(order, read_progress(order.folder), order.folder / CURVE)
    if not is_finished:
        again = f"ez train --resume {order.folder}"
        console.print(f"stopped; to go on: [bold]{again}[/]", soft_wrap=True)
    if as_json:
        print(json.dumps(summary), flush=True)
    else:
        Console(highlight=False).print(summary_table(summary))
    return stop.exit_code


def with_way_on(error: WorkerLostError, folder: Path) -> WorkerLostError:
    """The error with the very command that goes on with the run."""
    command = f"ez train --resume {folder}"
    if not any(folder.glob("checkpoint_*")):
        command = "train anew (there is no checkpoint yet)"
    text = str(error).replace("ez train --resume RUN", command)
    return WorkerLostError(text if command in text else f"{text}; to go on: {command}")


def announce(order: Order, console: Console) -> None:
    """Says what is about to happen."""
    plan = order.plan
    recipe = " + ".join(plan.presets) or "defaults"
    console.print(
        f"[bold]{plan.env}[/]: {plan.length:,} {plan.unit}, seed {plan.settings['seed']}, "
        f"settings {recipe}, into {order.folder}",
        soft_wrap=True,
    )
    for note in order.notes:
        console.print(note, soft_wrap=True)


@contextmanager
def ready(order: Order, algo: EfficientZero, console: Console) -> Iterator[Training]:
    """Everything around the loop: evaluation, records, view."""
    from cli.progress import make_view
    from rllib_ez.runs.evaluation import Evaluator
    from rllib_ez.runs.folder import cut_progress
    from rllib_ez.runs.provenance import machines_of, write_machines
    from rllib_ez.runs.records import Recorder
    from rllib_ez.runs.status import Status
    from rllib_ez.runs.training import Training

    plan = order.plan
    console.print(f"replay when full: {algo.pipeline.memory}", soft_wrap=True)
    at = {"env_steps": algo.pipeline.num_env_steps, "updates": algo.pipeline.num_updates}
    rows = cut_progress(order.folder, **at)
    machines = machines_of(order.folder, plan, resumed_at=plan.progress(**at))
    write_machines(order.folder, machines)
    title = f"{plan.env} seed {plan.settings['seed']}"
    status = Status(title=title, length=plan.length, unit=plan.unit)
    with (
        Evaluator(algo.agent_card(), plan.settings["evaluation_duration"]) as evaluator,
        Recorder(order.folder, from_progress=plan.progress(**at)) as recorder,
        make_view(console, status) as view,
    ):
        training = Training(
            algo, plan, order.folder, evaluator, recorder, status, view,
            checkpoint=order.resume_from, rows_before=rows,
        )  # fmt: skip
        yield training


def draw(order: Order, rows: list[dict[str, Any]], path: Path) -> None:
    """The learning curve."""
    from cli.curve import draw_curve

    plan = order.plan

    def progress(row: dict[str, Any]) -> int:
        return plan.progress(env_steps=row["env_steps"], updates=row["updates"])

    end = progress(rows[-1]) if rows else 0
    title = f"{plan.env}, seed {plan.settings['seed']}, {end:,} {plan.unit}"
    draw_curve(rows, path, title=title, unit=plan.unit, progress=progress)

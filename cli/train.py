"""`ez train`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.errors import one_line
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from cli.plan import Plan
    from cli.training import Training
    from rllib_ez.algorithm.algorithm import EfficientZero

EXAMPLES = """[bold]Examples[/]

ez train --env cartpole

ez train --game pong --env-steps 2000 --out runs/pong

ez train --env CartPole-v1 --preset no_consistency --set num_simulations=16 --seed 1

ez train --resume runs/pong --env-steps 4000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done, settled before Ray starts."""

    plan: Plan
    folder: Path
    resume_from: Path | None = None
    notes: tuple[str, ...] = ()


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
    env_steps: Annotated[int | None, typer.Option(help="How long to train.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Its folder; runs/ENV-SEED-TIME if not given.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run: its folder or a checkpoint in it.")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Env steps between evaluations; 0: only at the end.")
    ] = None,
    evaluation_episodes: Annotated[int | None, typer.Option(help="Episodes of each.")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Env steps between checkpoints; 0: only at the end.")
    ] = None,
    num_env_runners: Annotated[
        int | None, typer.Option(help="Processes that act; 0: this one, repeatable to the bit.")
    ] = None,
    num_learners: Annotated[
        int | None, typer.Option(help="Processes that learn; 0: this one.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of torch; 0: as it likes.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Trains an agent, evaluates it, draws its learning curve. Ctrl-C saves a checkpoint."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    mutable = {
        "env_steps": env_steps,
        "evaluate_every": evaluate_every,
        "checkpoint_every": checkpoint_every,
        "evaluation_duration": evaluation_episodes,
    }
    fixed = {
        "seed": seed,
        "num_env_runners": num_env_runners,
        "num_learners": num_learners,
        "threads": threads,
    }
    if resume is not None:
        named = {"env": env, "game": game, "preset": preset, "set": assignment, "out": out} | fixed
        order = resumed(resume, named, mutable)
    else:
        choice = {"env": env, "game": game, "preset": preset or []}
        order = begun(choice, assignment or [], fixed | mutable, out)
    raise typer.Exit(carry_out(order, console, started=started, as_json=as_json))


def begun(
    choice: dict[str, Any], assignments: list[str], options: dict[str, Any], out: Path | None
) -> Order:
    """The order for a new run; makes its folder."""
    from cli.plan import make_plan
    from cli.run_folder import new_run_folder

    plan, notes = make_plan(**choice, assignments=assignments, options=options)
    return Order(plan=plan, folder=new_run_folder(out, plan), notes=tuple(notes))


def resumed(path: Path, refused: dict[str, Any], mutable: dict[str, Any]) -> Order:
    """The order to go on with a run.

    Raises:
        SettingError: something was given that a run cannot change on its way.
        CheckpointError: there is nothing to go on from.
    """
    from cli.plan import Plan
    from cli.run_folder import checkpoint_to_resume, set_newer_aside

    given = [f"--{k.replace('_', '-')}" for k, v in refused.items() if v not in (None, [])]
    if given:
        raise SettingError(f"a resumed run keeps its settings, got {', '.join(given)}")
    folder, checkpoint = checkpoint_to_resume(path)
    plan = Plan.read(folder)
    changes = {name: value for name, value in mutable.items() if value is not None}
    settings = plan.settings
    if "evaluation_duration" in changes:
        from rllib_ez.algorithm.setting_types import checked_settings

        settings = settings | checked_settings(
            {"evaluation_duration": changes.pop("evaluation_duration")}
        )
    plan = replace(plan, settings=settings, **changes)
    notes = [f"going on from {checkpoint}"]
    notes += [f"a newer checkpoint is now {p}" for p in set_newer_aside(folder, checkpoint)]
    plan.write(folder)
    return Order(plan=plan, folder=folder, resume_from=checkpoint, notes=tuple(notes))


def carry_out(order: Order, console: Console, *, started: float, as_json: bool) -> int:
    """Trains; returns the exit code."""
    from cli.run_folder import CURVE, read_progress
    from cli.stopping import StopRequest
    from cli.summary import summary_of, summary_table

    announce(order, console)
    with ExitStack() as stack:
        algo = stack.enter_context(built(order))
        prepare_search(algo, console)
        stop = stack.enter_context(StopRequest())
        training = stack.enter_context(ready(order, algo, console))
        training.run(stop)
        summary = summary_of(training, wall_seconds=time.monotonic() - started)
    draw(order, read_progress(order.folder), order.folder / CURVE)
    if stop.signal is not None:
        again = f"ez train --resume {order.folder}"
        console.print(f"stopped; to go on: [bold]{again}[/]", soft_wrap=True)
    if as_json:
        print(json.dumps(summary), flush=True)
    else:
        Console(highlight=False).print(summary_table(summary))
    return stop.exit_code


def prepare_search(algo: EfficientZero, console: Console) -> None:
    """Compiles what this machine has not compiled yet: once here, not in every env runner."""
    from rllib_ez.core.engines import pick_device, warm_up

    config = algo.config
    told = "preparing the search (compiled once on each machine, which takes up to a minute)"
    with console.status(told):
        warm_up(
            algo.agent_card().model,
            device=pick_device(config.inference_device),
            engine=config.inference_engine,
        )


def announce(order: Order, console: Console) -> None:
    """Says what is about to happen."""
    plan = order.plan
    recipe = " + ".join(plan.presets) or "defaults"
    console.print(
        f"[bold]{plan.env}[/]: {plan.env_steps:,} env steps, seed {plan.settings['seed']}, "
        f"settings {recipe}, into {order.folder}",
        soft_wrap=True,
    )
    for note in order.notes:
        console.print(note, soft_wrap=True)


@contextmanager
def built(order: Order) -> Iterator[EfficientZero]:
    """Ray and the algorithm, restored where the run is resumed."""
    import torch

    from cli.allocator import keep_freed_memory
    from cli.quiet_ray import drop_result_folder, local_ray

    config = order.plan.config().debugging(log_level="ERROR")
    keep_freed_memory()
    if order.plan.threads:
        torch.set_num_threads(order.plan.threads)
    actors = config.num_env_runners * max(1, config.num_cpus_per_env_runner) + config.num_learners
    with local_ray(num_cpus=int(actors) + 2):
        algo = config.build_algo()
        drop_result_folder(algo)
        try:
            if order.resume_from is not None:
                algo.restore_from_path(str(order.resume_from))
            yield algo
        finally:
            algo.stop()


@contextmanager
def ready(order: Order, algo: EfficientZero, console: Console) -> Iterator[Training]:
    """Everything around the loop: evaluation, records, view."""
    from cli.evaluation import Evaluator
    from cli.progress import Status, make_view
    from cli.records import Recorder
    from cli.run_folder import cut_progress
    from cli.training import Training

    plan = order.plan
    console.print(f"replay when full: {algo.pipeline.memory}", soft_wrap=True)
    steps = algo.pipeline.num_env_steps
    rows = cut_progress(order.folder, steps)
    status = Status(
        title=f"{plan.env} seed {plan.settings['seed']}", total_env_steps=plan.env_steps
    )
    with (
        Evaluator(algo.agent_card(), plan.settings["evaluation_duration"]) as evaluator,
        Recorder(order.folder, from_env_steps=steps) as recorder,
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

    steps = rows[-1]["env_steps"] if rows else 0
    seed = order.plan.settings["seed"]
    draw_curve(rows, path, title=f"{order.plan.env}, seed {seed}, {steps:,} env steps")

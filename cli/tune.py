"""`ez tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.errors import one_line

if TYPE_CHECKING:
    pass

EXAMPLES = """[bold]Examples[/]

ez tune --games atari100k --seeds 3

ez tune --games pong,breakout --seeds 5 --env-steps 20000 --out sweeps/two

ez tune --games Acrobot-v1 --seeds 2 --search classic --num-samples 16 --method optuna --asha 5000

ez tune --games atari100k --seeds 3 --address auto --out s3://bucket/sweep
"""


@one_line
def tune(
    games: Annotated[
        str,
        typer.Option(
            help="A suite (atari100k, atari57, classic, FILE.yaml) or names: pong,CartPole-v1."
        ),
    ],
    seeds: Annotated[
        str, typer.Option(help="How many: 3 means 0, 1, 2. Or which: 0,7,9; one alone: 5,")
    ] = "1",
    preset: Annotated[
        list[str] | None,
        typer.Option(help="A recipe or overlay, repeatable; each game's own if not given."),
    ] = None,
    env_steps: Annotated[int | None, typer.Option(help="How long each trial trains.")] = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, repeatable; YAML values."),
    ] = None,
    evaluation_episodes: Annotated[int | None, typer.Option(help="Episodes of each.")] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Env steps between evaluations; 0: only at the end.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Env steps between checkpoints; 0: only at the end.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Search settings in this space.")
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option(help="How many settings to try; a grid is tried whole.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="random|grid|optuna", help="In place of the space's own."),
    ] = None,
    asha: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS", help="End trials early that lag behind, from so many steps on."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR|URI", help="The sweep's folder; sweeps/GAMES if not given."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT", help="A Ray cluster that is up; else this machine alone."
        ),
    ] = None,
    cpus_per_trial: Annotated[
        int | None, typer.Option(help="Cores of each trial's own process; fitted if not given.")
    ] = None,
    trials_per_gpu: Annotated[
        int | None, typer.Option(help="Trials that share a GPU; by its memory if not given.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials side by side; as many as fit if not given.")
    ] = None,
    max_failures: Annotated[int, typer.Option(help="Restarts of a trial from its checkpoint.")] = 2,
    grace_seconds: Annotated[
        float, typer.Option(help="For trials to save themselves at Ctrl-C or SIGTERM.")
    ] = 25.0,
    keep_replay: Annotated[
        bool, typer.Option("--keep-replay", help="In checkpoints of finished trials as well.")
    ] = False,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log to Weights & Biases as well.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="EXPERIMENT", help="Log to MLflow as well.")
    ] = None,
    estimate: Annotated[
        bool, typer.Option(help="Measure the pace before the start, to say how long it takes.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Trains many games and seeds, searches settings. The same command line goes on with it.

    Ctrl-C and SIGTERM let the trials save themselves first. ez report DIR draws what came of it.
    """
    from cli.tune_order import Call, chosen, space_of
    from cli.tune_run import carry_out

    console = Console(stderr=True, highlight=False)
    choice = chosen(
        games,
        seeds=seeds,
        presets=preset or [],
        assignments=assignment or [],
        options={
            "env_steps": env_steps,
            "evaluate_every": evaluate_every,
            "checkpoint_every": checkpoint_every,
            "evaluation_duration": evaluation_episodes,
        },
        space=space_of(search, num_samples=num_samples, method=method, asha=asha),
        num_samples=num_samples,
        out=out,
    )
    call = Call(
        **choice,
        address=address,
        room={
            "cpus_per_trial": cpus_per_trial,
            "trials_per_gpu": trials_per_gpu,
            "max_concurrent": max_concurrent,
        },
        max_failures=max_failures,
        grace_seconds=grace_seconds,
        keeps_replay=keep_replay,
        trackers={"wandb": wandb, "mlflow": mlflow},
        is_estimated=estimate,
        is_dry_run=dry_run,
    )
    raise typer.Exit(carry_out(call, console, as_json=as_json))

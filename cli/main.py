"""The `ez` command, put together from one file a command."""

from __future__ import annotations

from typing import Annotated

import typer

import rllib_ez
from cli.bench import bench
from cli.episodes import episodes
from cli.evaluate import evaluate
from cli.export import export
from cli.info import info
from cli.loadtest import EXAMPLES as LOADTEST_EXAMPLES
from cli.loadtest import loadtest
from cli.play import play
from cli.presets import presets
from cli.profile import profile
from cli.report import report
from cli.serve import EXAMPLES as SERVE_EXAMPLES
from cli.serve import serve
from cli.train import EXAMPLES, train
from cli.tune import EXAMPLES as TUNE_EXAMPLES
from cli.tune import tune

app = typer.Typer(
    name="ez",
    help="EfficientZero on Ray RLlib. Start with: ez train --env cartpole",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Prints the version and leaves."""
    if wanted:
        typer.echo(f"rllib_ez {rllib_ez.__version__}")
        raise typer.Exit


@app.callback()
def ez(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """EfficientZero on Ray RLlib. Start with: [bold]ez train --env cartpole[/]"""


app.command(epilog=EXAMPLES)(train)
app.command(epilog=TUNE_EXAMPLES)(tune)
app.command()(report)
app.command()(evaluate)
app.command()(play)
app.command()(profile)
app.command()(episodes)
app.command()(export)
app.command(epilog=SERVE_EXAMPLES)(serve)
app.command(epilog=LOADTEST_EXAMPLES)(loadtest)
app.add_typer(bench, name="bench")
app.add_typer(presets, name="presets")
app.command()(info)

if __name__ == "__main__":
    app()

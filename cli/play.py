"""`ez play`."""

from __future__ import annotations

from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import one_line
from cli.evaluate import CHECKPOINT


@one_line
def play(
    checkpoint: Annotated[Path, CHECKPOINT],
    episodes: Annotated[int, typer.Option(help="How many to watch.", min=1)] = 1,
    seed: Annotated[
        int | None, typer.Option(help="Of the episodes; the run's own if not given.")
    ] = None,
    simulations: Annotated[
        int | None, typer.Option(help="Of each search; as in the run if not given.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write an animated .gif here in place of a window."),
    ] = None,
) -> None:
    """Watch an agent: in a window, or in an animated GIF where there is no display."""
    from cli.video import Window, check_video_path, has_display, play_shown, write_gif
    from rllib_ez.core.random import evaluation_seeds
    from rllib_ez.runs.evaluation import load_agent

    console = Console(highlight=False)
    to_file = out is not None or not has_display() or find_spec("pygame") is None
    path = out or Path("play.gif")
    if to_file:
        check_video_path(path)
    agent = load_agent(checkpoint, num_simulations=simulations)
    seeds = evaluation_seeds(agent.card.seed if seed is None else seed, episodes)
    if to_file:
        pictures: list = []
        scores = [play_shown(agent, one, show=pictures.append).score for one in seeds]
        write_gif(pictures, path)
        why = "" if out else "no display here, so the game was written "
        console.print(f"{why}to {path.absolute()}", soft_wrap=True)
    else:
        with closing(
            Window(f"{agent.card.env} after {agent.card.num_env_steps:,} steps")
        ) as window:
            scores = [play_shown(agent, one, show=window.show).score for one in seeds]
    console.print(f"{agent.card.env}: returns {' '.join(f'{score:g}' for score in scores)}")

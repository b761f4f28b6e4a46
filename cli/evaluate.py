"""`ez evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.errors import one_line

if TYPE_CHECKING:
    from rllib_ez.envs import EpisodeResult

CHECKPOINT = typer.Argument(help="A checkpoint, or a run (then its newest).", show_default=False)


@one_line
def evaluate(
    checkpoint: Annotated[Path, CHECKPOINT],
    episodes: Annotated[int, typer.Option(help="How many to play.")] = 20,
    seed: Annotated[
        int | None, typer.Option(help="Of the episodes; the run's own if not given.")
    ] = None,
    simulations: Annotated[
        int | None, typer.Option(help="Of each search; as in the run if not given.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    video: Annotated[
        Path | None, typer.Option(help="Also draw the first episode, as an animated .gif.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Plays whole episodes greedily (searched, no noise) and tells every return.

    With the seed and number of episodes of the run, they are its own evaluation's episodes.
    """
    from cli.evaluation import Evaluator, load_agent, mean_return
    from cli.video import check_video_path, record_episode

    console = Console(stderr=True, highlight=False)
    if video is not None:
        check_video_path(video)
    agent = load_agent(checkpoint, num_simulations=simulations, device=device)
    with Evaluator(agent.card, episodes, seed=seed) as evaluator, console.status("") as line:
        played = evaluator.play(
            agent, on_episode=lambda n: line.update(f"{n} of {episodes} episodes")
        )
        first = evaluator.seeds[0]
    if video is not None:
        shown = record_episode(agent, first, video)
        console.print(f"video of a game with return {shown.score:g}: {video}", soft_wrap=True)
    if as_json:
        report = {
            "env": agent.card.env,
            "episodes": len(played),
            "return_mean": mean_return(played),
            "returns": [episode.score for episode in played],
            "lengths": [episode.length for episode in played],
            "num_simulations": agent.card.search.num_simulations,
            "trained_env_steps": agent.card.num_env_steps,
        }
        print(json.dumps(report), flush=True)
    else:
        tell(agent.card.env, played)


def tell(env: str, played: list[EpisodeResult]) -> None:
    """Every return, then the mean."""
    from cli.evaluation import mean_return

    console = Console(highlight=False)
    returns = " ".join(f"{episode.score:g}" for episode in played)
    console.print(f"returns: {returns}", soft_wrap=True)
    scores = [episode.score for episode in played]
    console.print(
        f"{env}: mean return [bold]{mean_return(played):.2f}[/] over {len(played)} episodes "
        f"(min {min(scores):g}, max {max(scores):g})",
        soft_wrap=True,
    )

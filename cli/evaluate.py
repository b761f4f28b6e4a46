"""`ez evaluate`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.errors import one_line

if TYPE_CHECKING:
    from cli.remote import RemoteAgent
    from rllib_ez.agent import Agent
    from rllib_ez.core.agent_card import AgentCard
    from rllib_ez.envs import EpisodeResult
    from rllib_ez.runs.evaluation import Player
    from rllib_ez.runs.protocol import Protocol

CHECKPOINT = typer.Argument(help="A checkpoint, or a run (then its newest).", show_default=False)
SERVED = "Action service"  # the panel of `--help` for its options


def served(text: str) -> Any:
    """An option that goes with --url."""
    return typer.Option(help=text, rich_help_panel=SERVED)


@one_line
def evaluate(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    episodes: Annotated[
        int | None, typer.Option(help="How many to play; 32 of Atari, 20 of others if not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the episodes; the run's own if not given.")
    ] = None,
    simulations: Annotated[
        int | None, typer.Option(help="Of each search; as in the run if not given.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Another environment with the same spaces.")
    ] = None,
    sticky_actions: Annotated[
        float | None,
        typer.Option(
            help="Atari: probability that a frame repeats the last action; 0 if not given."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    url: Annotated[
        str | None, served("Play by an action service in place of a checkpoint.")
    ] = None,
    model: Annotated[str | None, served("Of the service; its default if not given.")] = None,
    token_file: Annotated[Path | None, served("Holds the token; EZ_TOKEN if not given.")] = None,
    transport: Annotated[
        str | None,
        served("http (default: all games in one request), or frame by frame: session, websocket."),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also draw the first episode, as an animated .gif.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Plays whole episodes greedily (searched, no noise) and tells every return, and how.

    With the seed and number of episodes of the run, they are its own evaluation's episodes.
    By an action service (--url) they are the same games, action for action.
    """
    from cli.video import check_video_path
    from rllib_ez.runs.evaluation import Evaluator, placed_in, with_sticky_actions
    from rllib_ez.runs.protocol import default_episodes

    if video is not None:
        check_video_path(video)
    service: dict[str, Any] = {"model": model, "token_file": token_file, "transport": transport}
    check_choice(checkpoint, url, device=device, service=service)
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        if checkpoint is not None:
            player: Player = loaded(checkpoint, simulations, device)
        else:
            player = stack.enter_context(connected(str(url), simulations, **service))
        player.card = placed_in(player.card, env)
        if sticky_actions is not None:
            player.card = with_sticky_actions(player.card, sticky_actions)
        count = default_episodes(player.card.env) if episodes is None else episodes
        with Evaluator(player.card, count, seed=seed) as evaluator, console.status("") as line:
            played = evaluator.play(
                player, on_episode=lambda n: line.update(f"{n} of {count} episodes")
            )
        if video is not None:
            draw(player, evaluator.seeds[0], video, console=console)
    if as_json:
        print(json.dumps(report(player.card, played, evaluator.protocol)), flush=True)
    else:
        tell(player.card.env, played, evaluator.protocol)


def check_choice(
    checkpoint: Path | None, url: str | None, *, device: str, service: dict[str, Any]
) -> None:
    """Raises SettingError unless there is one agent, with options that mean something for it."""
    from rllib_ez.errors import SettingError

    if (checkpoint is None) == (url is None):
        given = "neither" if url is None else "both"
        raise SettingError(f"exactly one of CHECKPOINT and --url must be given, got {given}")
    if url is None:
        for name, value in service.items():
            if value is not None:
                raise SettingError(
                    f"{name.replace('_', '-')} must come with --url, got {str(value)!r} for a "
                    "checkpoint"
                )
    elif device != "cpu":
        raise SettingError(f"device must be left to the service of --url, got {device!r}")


def loaded(checkpoint: Path, simulations: int | None, device: str) -> Agent:
    """The agent of a checkpoint."""
    from rllib_ez.runs.evaluation import load_agent

    return load_agent(checkpoint, num_simulations=simulations, device=device)


def connected(
    url: str,
    simulations: int | None,
    *,
    model: str | None,
    token_file: Path | None,
    transport: str | None,
) -> RemoteAgent:
    """The agent of a service."""
    from cli.remote import RemoteAgent, read_token

    return RemoteAgent(
        url,
        model=model,
        token=read_token(token_file),
        transport=transport or "http",
        num_simulations=simulations,
    )


def draw(player: Player, seed: int, path: Path, *, console: Console) -> None:
    """Plays the episode with this seed once more, into a GIF."""
    from cli.video import record_episode

    shown = record_episode(player, seed, path)
    console.print(f"video of a game with return {shown.score:g}: {path}", soft_wrap=True)


def report(card: AgentCard, played: list[EpisodeResult], protocol: Protocol) -> dict[str, Any]:
    """What --json prints."""
    from rllib_ez.runs.evaluation import mean_return

    return {
        "env": card.env,
        "episodes": len(played),
        "return_mean": mean_return(played),
        "returns": [episode.score for episode in played],
        "lengths": [episode.length for episode in played],
        "num_simulations": card.search.num_simulations,
        "trained_env_steps": card.num_env_steps,
        "protocol": protocol.as_json(),
    }


def tell(env: str, played: list[EpisodeResult], protocol: Protocol) -> None:
    """Every return, then the mean, then how it was measured."""
    from rllib_ez.runs.evaluation import mean_return

    console = Console(highlight=False)
    returns = " ".join(f"{episode.score:g}" for episode in played)
    console.print(f"returns: {returns}", soft_wrap=True)
    scores = [episode.score for episode in played]
    console.print(
        f"{env}: mean return [bold]{mean_return(played):.2f}[/] over {len(played)} episodes "
        f"(min {min(scores):g}, max {max(scores):g})",
        soft_wrap=True,
    )
    console.print(protocol.sentence, style="dim", soft_wrap=True)

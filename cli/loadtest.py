"""`ez loadtest`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import one_line
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from serve.load_report import LoadStep
    from serve.loadtest import LoadSettings

NOTHING_SUCCEEDED = 1  # exit code
URL = typer.Argument(help="Of a service: http://HOST:PORT.", show_default=False)
EXAMPLES = "[dim]ez loadtest http://127.0.0.1:8000 --concurrency 1,8,64 --out load[/]"


@one_line
def loadtest(
    url: Annotated[str, URL],
    model: Annotated[
        str | None, typer.Option(help="Its name; the service's default if not given.")
    ] = None,
    concurrency: Annotated[
        str, typer.Option(help="Clients at once, a step for each number.")
    ] = "1,8,64",
    seconds: Annotated[
        float, typer.Option(help="Of each step, after one second to warm up.")
    ] = 10.0,
    simulations: Annotated[
        int | None, typer.Option(help="Of each search; the service's default if not given.")
    ] = None,
    observations: Annotated[int, typer.Option(help="In one request.")] = 1,
    body_format: Annotated[
        str, typer.Option("--format", help="Of the requests: raw, json or msgpack.")
    ] = "raw",
    token_file: Annotated[
        Path | None, typer.Option(help="Its first token is sent with every request.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random observations.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for loadtest.json and loadtest.png.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Asks a service for actions as fast as it answers; tells throughput, latency and errors.

    Each client sends its next request upon a reply, and none a second time.
    Exits with 1 if no request succeeded.
    """
    from cli.bench import whole_numbers
    from serve.loadtest import LoadSettings

    settings = LoadSettings(
        url=url,
        model=model,
        concurrency=tuple(whole_numbers("concurrency", concurrency.split(","))),
        seconds=seconds,
        simulations=simulations,
        observations=observations,
        format=body_format,
        token=None if token_file is None else read_token(token_file),
        seed=seed,
    )
    report, steps = measured(settings)
    if out is not None:
        from cli.load_picture import draw_load

        out.mkdir(parents=True, exist_ok=True)
        (out / "loadtest.json").write_text(json.dumps(report, indent=1) + "\n")
        draw_load(steps, out / "loadtest.png", title=title_of(report))
    if as_json:
        print(json.dumps(report), flush=True)
    else:
        tell(report, steps)
    if not any(step.requests for step in steps):
        raise typer.Exit(NOTHING_SUCCEEDED)


def read_token(path: Path) -> str:
    """The first token of a file: alone in its line, or in one as the service reads it."""
    for line in path.read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 1 or (len(words) == 2 and words[0] in ("client", "admin")):
            return words[-1]
        break
    raise SettingError(f"token_file must begin with TOKEN or 'client TOKEN', got neither in {path}")


def measured(settings: LoadSettings) -> tuple[dict[str, Any], list[LoadStep]]:
    """All steps, one after the other, and the report that goes to JSON."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from serve.loadtest import LoadTest, run_on_loop

    test = LoadTest(settings)
    one_step = settings.warm_up_seconds + settings.seconds
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    steps: list[LoadStep] = []

    async def run() -> None:
        await test.prepare()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=one_step * len(settings.concurrency))
            for clients in settings.concurrency:
                progress.update(task, description=people(clients))
                on_tick = partial(tick, progress, task, one_step * len(steps))
                steps.append(await test.step(clients, on_tick))

    begun = time.time()
    run_on_loop(run())
    asked = {k: v for k, v in asdict(settings).items() if k not in ("token", "model")}
    report = {
        "model": test.model,
        "settings": asked,
        "begun_at": begun,
        "steps": [asdict(step) for step in steps],
    }
    return report, steps


def tick(progress: Progress, task: TaskID, before: float, passed: float) -> None:
    """Moves the bar to so many seconds."""
    progress.update(task, completed=before + passed)


def title_of(report: dict[str, Any]) -> str:
    """What was asked of what."""
    model, settings = report["model"], report["settings"]
    simulations = settings["simulations"] or model["simulations"]["default"]
    several = f", {settings['observations']} a request" if settings["observations"] > 1 else ""
    return (
        f"{model['name']} ({model['env']}) at {settings['url']}, {simulations} simulations"
        f"{several}, {settings['format']}, {settings['seconds']:g} s a step"
    )


def tell(report: dict[str, Any], steps: Sequence[LoadStep]) -> None:
    """Both tables, then what went wrong."""
    console = Console(highlight=False)
    console.print(title_of(report), soft_wrap=True)
    console.print(speed_table(steps))
    console.print(parts_table(steps))
    for step in steps:
        console.print(
            f"[dim]batches with {people(step.concurrency)}:[/] {batches_line(step)}",
            soft_wrap=True,
        )
    for step in steps:
        if step.errors:
            told = ", ".join(f"{count} x {kind}" for kind, count in step.errors.items())
            console.print(f"[red]errors with {people(step.concurrency)}:[/] {told}")


def speed_table(steps: Sequence[LoadStep]) -> Table:
    """Throughput, latency in ms, errors: a row for each step."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = ("clients", "req/s", "obs/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors")
    for column in columns:
        table.add_column(column, justify="right")
    for step in steps:
        latency = step.latency_ms
        table.add_row(
            str(step.concurrency),
            f"{step.requests_per_second:.1f}",
            f"{step.observations_per_second:.1f}",
            *(f"{latency[k]:.1f}" if latency else "-" for k in ("p50", "p95", "p99", "max")),
            str(sum(step.errors.values())),
        )
    return table


def parts_table(steps: Sequence[LoadStep]) -> Table:
    """Where the mean latency goes, and the replica's processor time: a row for each step."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = ("clients", "batch", "queue", "search", "rest", "CPU ms: HTTP", "search", "client")
    for column in columns:
        table.add_column(column, justify="right")
    for step in steps:
        shares, cpu, own = step.shares, step.server_cpu_ms, step.client_cpu_ms
        table.add_row(
            str(step.concurrency),
            f"{step.batch_mean:.1f}" if step.batch_mean else "-",
            *(f"{shares[k]:.0%}" if shares else "-" for k in ("queue", "search", "rest")),
            *((f"{cpu.http:.2f}", f"{cpu.search:.2f}") if cpu else ("-", "-")),
            f"{own:.2f}" if own is not None else "-",
        )
    return table


def people(count: int) -> str:
    """So many clients, in words."""
    return "1 client" if count == 1 else f"{count} clients"


def batches_line(step: LoadStep) -> str:
    """The commonest batch sizes, with their share of the observations."""
    total = sum(step.observations_by_batch.values())
    commonest = sorted(step.observations_by_batch.items(), key=lambda item: -item[1])[:8]
    return "  ".join(f"{size}: {count / total:.0%}" for size, count in commonest) or "none"

"""`ez report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.errors import one_line
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from tuning.report.model import Report

EXAMPLES = "[dim]ez report sweeps/first sweeps/second --out comparison[/]"
SWEEPS = typer.Argument(
    metavar="DIR...", help="Folders of `ez tune`: paths or URIs.", show_default=False
)


@one_line
def report(
    sweeps: Annotated[list[str], SWEEPS],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="A path or URI for page, pictures and tables; the first DIR's report/ if not "
            "given.",
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(help="Of the bootstrap that intervals come from.")
    ] = 2000,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Tells what came of sweeps: scores, statistics, curves, comparisons; as tables and a page.

    Also of a sweep that is still running or was broken off: finished runs are scored.
    Needs no Ray, no GPU and none of the environments.
    """
    from tuning.reading import read_sweep
    from tuning.report.files import as_json as report_as_json
    from tuning.report.scores import build_report

    check_order(sweeps, resamples)
    errors = Console(stderr=True, highlight=False)
    with errors.status("reading"):
        read = [read_sweep(sweep) for sweep in sweeps]
        built = build_report(read, num_resamples=resamples)
    with errors.status("drawing"):
        names = write_report(built, report_folder(sweeps[0]) if out is None else out)
    shown = f"{read[0].path}/report" if out is None else out
    if as_json:
        print(json.dumps(report_as_json(built) | {"out": shown, "files": names}), flush=True)
    else:
        tell(built, shown, names)


def check_order(sweeps: list[str], resamples: int) -> None:
    """Raises SettingError for what no report can be made of."""
    if resamples < 1:
        raise SettingError(f"resamples must be >= 1, got {resamples}")
    kept = [sweep.rstrip("/") for sweep in sweeps]
    for sweep in kept:
        if kept.count(sweep) > 1:
            raise SettingError(f"sweeps must be different folders, got {sweep!r} twice")


def report_folder(sweep: str) -> str:
    """Where a sweep's report lies, by path or URI; what follows a question mark stays behind it."""
    if "://" not in sweep:
        return str(Path(sweep) / "report")
    path, mark, query = sweep.partition("?")
    return f"{path.rstrip('/')}/report{mark}{query}"


def write_report(built: Report, out: str) -> list[str]:
    """Writes everything, whole or not at all, and returns the names of the files."""
    from tuning.report.figures import draw_figures, save_figures
    from tuning.report.files import whole_folder, write_files
    from tuning.report.page import write_page

    with whole_folder(out) as folder:
        figures = draw_figures(built)
        save_figures(figures, folder)
        write_page(built, folder, figures)
        write_files(built, folder)
        return sorted(path.name for path in folder.iterdir())


def tell(built: Report, out: str, names: list[str]) -> None:
    """All tables, and where the files are."""
    from cli.report_tables import show_report

    console = Console(highlight=False)
    show_report(built, console)
    page = f"{out.rstrip('/')}/report.html"
    console.print(Text.assemble(("report: ", "bold"), page), soft_wrap=True)
    others = ", ".join(name for name in names if name != "report.html")
    console.print(Text(f"beside it: {others}", "dim"), soft_wrap=True)

"""A report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from tuning.report.charts import chosen_column
from tuning.report.curves import games_of
from tuning.report.foot import runs_in_words
from tuning.report.inline import inline
from tuning.report.look import clipped
from tuning.report.model import Estimate, Made, Report, Run, SampleScores, SweepScores

_HERE = Path(__file__).parent
_AGGREGATES = {
    "iqm": "IQM",
    "median": "Median",
    "mean": "Mean",
    "optimality_gap": "Optimality gap",
}
_TIMES = {
    "seconds": "whole run, without set-up",
    "setup_seconds": "set-up",
    "training_seconds": "training",
    "evaluation_seconds": "evaluation",
}
# Title and caption; figures of other names get their name.
_CAPTIONS = {
    "aggregates": (
        "Aggregates",
        "Statistics of normalised scores over all games and seeds. Bars are 95 % intervals "
        "(stratified bootstrap), diamonds are published scores.",
    ),
    "curves": (
        "Learning curves",
        "Mean return of the last ten episodes of training: thin a seed each, bold their mean as "
        "far as all have come. Dots are evaluations.",
    ),
    "normalised": (
        "Normalised score a game",
        "Mean over seeds, best first; diamonds are published.",
    ),
    "profile": (
        "Performance profile",
        "Share of runs whose normalised score is above the one on the axis: higher is better.",
    ),
    "improvement": (
        "Probability of improvement",
        "That a run of the first sweep beats one of the second on the same game, with 95 % "
        "intervals.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure as the page holds it."""

    name: str
    title: str
    caption: str
    width: float  # inches
    markup: Markup


def write_page(report: Report, folder: Path, figures: Mapping[str, Figure]) -> Path:
    """Writes report.html into `folder` and returns its path.

    Args:
        report: what the page says.
        folder: made where it is missing.
        figures: of `draw_figures`, in the order in which the page shows them.
    """
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            pictures=[_picture(report, name, figure) for name, figure in figures.items()],
            aggregates=_AGGREGATES,
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def number(value: float | None) -> str:
    """A score: 12,345, 123.4, 12.34; a dash for None."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}".replace("-", "−")


def scaled(value: float | None) -> str:
    """A normalised score, with three digits behind the point."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}".replace("-", "−")


def interval(estimate: Estimate) -> str:
    """The ends of the interval, in brackets; nothing where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{scaled(estimate.low)}, {scaled(estimate.high)}]"


def duration(seconds: float | None) -> str:
    """For people: "2 h 5 min", "3 min 20 s", "4.5 s"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{int(minutes)} min {int(seconds % 60)} s"
    return f"{int(minutes // 60)} h {int(minutes % 60)} min"


def state(run: Run) -> str:
    """How far a run is: "finished", "failed at 40 %", "40 %", "not started"."""
    if run.is_finished:
        return "finished"
    if not run.rows:
        return "failed" if run.error else "not started"
    share = f"{run.rows[-1]['progress'] / max(run.rows[-1]['length'], 1):.0%}".replace("%", " %")
    return f"failed at {share}" if run.error else share


def times(sweep: SweepScores) -> list[tuple[str, str]]:
    """What a finished run took, in words, and how much of that pure training is."""
    rows = [(_TIMES.get(key, key), duration(value)) for key, value in sweep.seconds.items()]
    training = sweep.seconds.get("training_seconds", 0.0)
    whole = sweep.seconds.get("seconds", 0.0) + sweep.seconds.get("setup_seconds", 0.0)
    if training > 0 and whole > 0:
        rows.append(("whole run with set-up, over training alone", f"{whole / training:.2f} times"))
    return rows


def wall_clock(made: Made) -> str:
    """Of one run, or of the fastest and the slowest of several."""
    if made.seconds is None:
        return "–"
    return " to ".join(dict.fromkeys(map(duration, made.seconds)))


def setting_names(samples: Sequence[SampleScores]) -> list[str]:
    """Of all settings that any of the samples chose."""
    return list(dict.fromkeys(name for sample in samples for name in sample.settings))


def setting(value: object) -> str:
    """A setting's value: numbers short, all else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def published_columns(report: Report, sweep: SweepScores) -> list[str]:
    """Those of the sweep's games, in the report's order."""
    known = {name for game in sweep.games for name in game.published}
    return [name for name in report.published if name in known] + sorted(
        known - set(report.published)
    )


def summary(report: Report) -> str:
    """How much there is: "3 games, 9 runs, 8 of them finished"."""
    runs = [run for sweep in report.sweeps for run in sweep.runs]
    finished = sum(run.is_finished for run in runs)
    counts = [(len(report.sweeps), "sweep"), (len(games_of(report)), "game"), (len(runs), "run")]
    words = [f"{count} {noun}" + "s" * (count != 1) for count, noun in counts]
    return ", ".join(words) + f", {finished} of them finished"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for show in (number, scaled, interval, duration, state, times, setting_names, setting, summary):
        environment.filters[show.__name__] = show
    environment.filters |= {"wall_clock": wall_clock, "runs_in_words": runs_in_words}
    environment.filters["line"] = lambda text: clipped(text, 400)
    environment.globals["published_columns"] = published_columns
    return environment


def _picture(report: Report, name: str, figure: Figure) -> Picture:
    title, caption = _CAPTIONS.get(name, (name, ""))
    if name == "normalised" and (column := chosen_column(report)):
        caption = f"Mean over seeds, best first; diamonds are {column}, as published."
    names = games_of(report)
    games = ", ".join(clipped(game, 30) for game in names)
    games = games if len(names) <= 6 else f"{len(names)} games"
    label = f"{title} of {games}. {caption} The tables of this page hold the numbers."
    return Picture(
        name=name,
        title=title,
        caption=caption,
        width=figure.get_figwidth(),
        markup=inline(figure, name, label),
    )

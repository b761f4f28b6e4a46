"""A load test as a picture: throughput and latency over the number of clients, batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serve.load_report import LoadStep

_MARKS: dict[str, Any] = {"marker": "o", "markersize": 4}


def draw_load(steps: Sequence[LoadStep], path: Path, *, title: str) -> None:
    """Draws the steps.

    Args:
        steps: in any order; those without a success are left out.
        path: of the PNG.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted((s for s in steps if s.requests), key=lambda step: step.concurrency)
    figure = Figure(figsize=(12, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    throughput, latency, batches = figure.subplots(1, 3)
    draw_throughput(throughput, shown)
    draw_latency(latency, shown)
    draw_batches(batches, shown)
    figure.savefig(path)


def draw_throughput(axes: Any, steps: Sequence[LoadStep]) -> None:
    """Observations per second over clients."""
    at = [step.concurrency for step in steps]
    axes.plot(at, [step.observations_per_second for step in steps], **_MARKS)
    axes.set(title="throughput", ylabel="observations / s")
    axes.set_ylim(bottom=0)
    clients_axis(axes, at)


def draw_latency(axes: Any, steps: Sequence[LoadStep]) -> None:
    """Percentiles over clients, and the mean's parts below them."""
    at = [step.concurrency for step in steps]
    for name, shade in (("p99", "tab:red"), ("p95", "tab:orange"), ("p50", "tab:blue")):
        values = [step.latency_ms[name] for step in steps if step.latency_ms]
        axes.plot(at, values, color=shade, label=name, **_MARKS)
    search = [step.search_ms for step in steps]
    axes.plot(at, search, color="0.5", linestyle="--", label="search, mean", **_MARKS)
    axes.set(title="latency", ylabel="ms", yscale="log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    clients_axis(axes, at)
    if steps:
        axes.legend(fontsize=8)


def draw_batches(axes: Any, steps: Sequence[LoadStep]) -> None:
    """Shares of the observations by the size of the batch they were searched in."""
    for step in steps:
        total = sum(step.observations_by_batch.values())
        sizes = sorted(step.observations_by_batch)
        shares = [step.observations_by_batch[size] / total for size in sizes]
        label = "1 client" if step.concurrency == 1 else f"{step.concurrency} clients"
        axes.bar(sizes, shares, width=0.8, alpha=0.6, label=label)
    axes.set(title="batch sizes", xlabel="observations searched together")
    axes.set_ylabel("share of observations")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    if steps:
        axes.legend(fontsize=8)


def clients_axis(axes: Any, at: Sequence[int]) -> None:
    """The numbers of clients, as they were."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [str(number) for number in at])
    axes.minorticks_off()
    axes.set_xlabel("clients at once")
    axes.grid(alpha=0.3)

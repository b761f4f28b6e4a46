"""Measured services as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.serving_process import STRANGERS

NAMES = {
    "ours": "ours",
    "nogather": "ours, gather_fraction 0",
    "batch": "@serve.batch",
    "rllib": "RLlib's example (no search)",
    "rllib256": "the same, max_ongoing_requests 256",
}
COLUMNS = (
    "service",
    "threads",
    "clients",
    "obs/s",
    "search alone, obs/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "batch",
    "queue / search / rest",
    "CPU ms: HTTP",
    "search",
    "cores: service",
    "clients",
    "others",
    "errors",
)
Row = dict[str, Any]


def table(report: dict[str, Any]) -> str:
    """A table for each agent as Markdown; of several rounds the medians."""
    lines = []
    for agent, about in report["agents"].items():
        rows = [row for row in report["rows"] if row["agent"] == agent]
        if not rows:
            continue
        simulations = report["simulations"] or about["simulations"]
        lines += [
            f"### {agent}: {about['network']} network, observation {about['observation']} "
            f"({about['bytes']:,} bytes), {simulations} simulations ({about['search_method']})",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
            *(f"| {' | '.join(cells(group))} |" for group in groups(rows)),
            "",
        ]
    machine = report["machine"]
    lines += [
        f"{machine['processor']}, {machine['cpus']} cores, load "
        f"{machine['load_average'][0]:.1f} at the start; ray {machine['ray']}, torch "
        f"{machine['torch']}, commit {machine['commit']}, {report['date']}, seed "
        f"{report['seed']}, {report['seconds']:g} s a step. Clients, HTTP and search share the "
        "cores. Medians of the rounds. The ratio is to searches of the same batch sizes back to "
        "back in a process of its own, right after the step. CPU is per request and of all "
        "processes of the service, less what they use when nobody asks; HTTP is what is not search "
        "(RLlib's: everything), told for one thread only. p95, HAProxy's share and idle cores: "
        "result.json.",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


def groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that differ by their round only, in the order of the first round."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row["variant"], row["threads"], row["clients"]), []).append(row)
    yield from found.values()


def cells(group: Sequence[Row]) -> list[str]:
    """A line of the table."""
    row = group[0]
    shares = [middle(group, "shares", part) for part in ("queue", "search", "rest")]
    is_search = "alone" in row
    http = middle(group, "http_cpu_ms" if is_search else "service_cpu_ms")
    return [
        NAMES[row["variant"]],
        str(row["threads"]),
        str(row["clients"]),
        with_range(group, "observations_per_second"),
        number(middle(group, "alone", "observations_per_second"), 0),
        percent(middle(group, "ratio")),
        *(number(middle(group, "latency_ms", name), 1) for name in ("p50", "p99")),
        number(middle(group, "batch_mean"), 1),
        " / ".join(percent(share) for share in shares) if is_search else "",
        number(http, 2),
        number(middle(group, "server_cpu_ms", "search"), 2),
        number(cores_of_service(group, "cores"), 2),
        *(number(middle(group, "cores", name), 2) for name in ("clients", "others")),
        str(sum(sum(one["errors"].values()) for one in group)),
    ]


def middle(group: Sequence[Row], *path: str) -> float | None:
    """The median of an entry; None where no row has it."""
    values = []
    for row in group:
        value: Any = row
        for name in path:
            value = None if value is None else value.get(name)
        if value is not None:
            values.append(float(value))
    return median(values) if values else None


def with_range(group: Sequence[Row], name: str) -> str:
    """The median, and of several rounds the lowest and highest."""
    values = [float(row[name]) for row in group]
    told = number(median(values), 0)
    return told if len(values) == 1 else f"{told} ({min(values):,.0f}-{max(values):,.0f})"


def cores_of_service(group: Sequence[Row], name: str) -> float:
    """Cores that its processes used together, the median."""
    return median(
        sum(value for role, value in row[name].items() if role not in STRANGERS) for row in group
    )


def number(value: float | None, digits: int) -> str:
    """With thousands."""
    return "" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """Whole percents."""
    return "" if share is None else f"{share:.0%}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Above observations per second, below latency; a column for each agent."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    agents = [a for a in report["agents"] if any(r["agent"] == a for r in report["rows"])]
    figure = Figure(figsize=(4.6 * len(agents) + 1, 7), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(agents), squeeze=False)
    for column, agent in enumerate(agents):
        rows = [row for row in report["rows"] if row["agent"] == agent]
        throughput, latency = axes[0][column], axes[1][column]
        throughput.set(title=agent, ylabel="observations / s")
        latency.set(ylabel="ms (p50 solid, p99 dotted)", xlabel="clients at once")
        draw_agent(throughput, latency, list(groups(rows)))
    axes[0][0].legend(fontsize=8)
    machine = report["machine"]
    figure.suptitle(f"{machine['processor']}, {machine['cpus']} cores, {report['date']}", size=9)
    figure.savefig(path)


def draw_agent(throughput: Any, latency: Any, found: Sequence[Sequence[Row]]) -> None:
    """A line for each variant."""
    from matplotlib.ticker import NullFormatter, NullLocator

    kinds = list(dict.fromkeys((group[0]["variant"], group[0]["threads"]) for group in found))
    for place, kind in enumerate(kinds):
        mine = [g for g in found if (g[0]["variant"], g[0]["threads"]) == kind]
        at = [group[0]["clients"] for group in mine]
        label = NAMES[kind[0]] + (f", {kind[1]} threads" if kind[1] > 1 else "")
        style: dict[str, Any] = {"color": f"C{place}", "marker": "o", "markersize": 4}
        rates = [middle(group, "observations_per_second") or 0.0 for group in mine]
        throughput.plot(at, rates, label=label, **style)
        for percentile, line in (("p50", "-"), ("p99", ":")):
            values = [middle(group, "latency_ms", percentile) or float("nan") for group in mine]
            latency.plot(at, values, linestyle=line, **style)
        alone = [middle(group, "alone", "observations_per_second") for group in mine]
        if kind[0] == "ours":
            name = "search alone" + (f", {kind[1]} threads" if kind[1] > 1 else "")
            throughput.plot(at, alone, linestyle="--", label=name, **{**style, "marker": "_"})
    for axes in (throughput, latency):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        at = sorted({group[0]["clients"] for group in found})
        axes.set_xticks(at, [str(clients) for clients in at])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)

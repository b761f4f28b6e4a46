"""Timed searches as tables and a picture. Rows come from run_peers.py or `search_runner`.

With one thread the time told is CPU time, which others on the machine do not lengthen; with more
it is wall time, since threads that wait for each other spin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

OURS = (("rllib_ez", "puct"), ("rllib_ez", "gumbel"))
LIGHTZERO = ("lightzero", "ez_search")
MCTX = (("mctx", "muzero"), ("mctx", "gumbel"))
COLUMNS = (*OURS, LIGHTZERO, *MCTX)
# Its compiled calls alone, without the glue that a search needs.
TREE_COLUMNS = (*COLUMNS, ("lightzero", "ez_ctree"))

Method = tuple[str, str]
Group = dict[Method, dict[str, Any]]


def table(raw: dict[str, Any]) -> str:
    """Everything as Markdown."""
    machine = raw["machine"]
    threads = raw["threads"] or "each worker's own number of"
    lines = [
        f"{machine['processor']}, {machine['cpus']} cores, {threads} threads, commit "
        f"{machine['commit']}, {raw['date']}. All methods of a row ran in turn, block by block, in "
        f"one run: compare within a row. Medians of {clock(raw)} time.",
        "",
        *network_lines(raw),
        *outside_lines(raw),
        *tree_lines(raw),
        *memory_lines(raw),
        versions_line(raw),
        "",
        f"    {raw['command']}",
        "",
    ]
    return "\n".join(lines)


def network_lines(raw: dict[str, Any]) -> Iterator[str]:
    """Milliseconds of a whole search, and how many times faster ours is."""
    yield "### Full search with a network: ms (and how many times as fast as the peer)"
    yield ""
    against = [f"{ours[1]}, {peer}" for ours in OURS for peer in ("LightZero", "mctx's faster")]
    yield from header(["network", "B", "A", "S"], [*names(), *against])
    for key, group in groups(raw, "net"):
        cells = [f"{ms:.3g}" if ms else "" for ms in (timed(raw, group.get(m)) for m in COLUMNS)]
        for ours in OURS:
            cells.append(times_as_fast(raw, group, ours, (LIGHTZERO,)))
            cells.append(times_as_fast(raw, group, ours, MCTX))
        yield row([key["model"], key["B"], key["A"], key["S"], *cells])
    yield ""


def outside_lines(raw: dict[str, Any]) -> Iterator[str]:
    """What of a search is not the network."""
    yield "### Share of the search outside the network"
    yield ""
    yield from header(["network", "B"], names())
    for key, group in groups(raw, "net"):
        shares = [
            f"{group[method]['share_outside_network']['median']:.0%}" if method in group else ""
            for method in COLUMNS
        ]
        yield row([key["model"], key["B"], *shares])
    yield ""


def tree_lines(raw: dict[str, Any]) -> Iterator[str]:
    """Microseconds of a simulation of one root, with a table in place of the network."""
    yield "### Tree alone: µs per simulation and root"
    yield ""
    yield from header(["values", "B", "A", "S"], names(TREE_COLUMNS))
    for key, group in groups(raw, "tree"):
        found = (timed(raw, group.get(method)) for method in TREE_COLUMNS)
        cells = [f"{us_of(ms, key):.3g}" if ms else "" for ms in found]
        yield row([key["values"], key["B"], key["A"], key["S"], *cells])
    yield ""


def memory_lines(raw: dict[str, Any]) -> Iterator[str]:
    """The most memory that each worker's process ever held, all its cases together."""
    peak: dict[str, int] = {}
    for case in raw["cases"]:
        if case.get("peak_rss_mib"):
            peak[case["worker"]] = max(peak.get(case["worker"], 0), case["peak_rss_mib"])
    yield "### Peak memory of the process, over all cases: MiB"
    yield ""
    yield from header([], list(peak))
    yield row(list(peak.values()))
    yield ""


def versions_line(raw: dict[str, Any]) -> str:
    """What was measured."""
    parts = []
    for name, hello in raw["workers"].items():
        versions = ", ".join(f"{key} {value}" for key, value in hello["versions"].items())
        parts.append(f"{name} ({versions})")
    return "; ".join(parts)


def groups(raw: dict[str, Any], kind: str) -> Iterator[tuple[dict[str, Any], Group]]:
    """The methods of each case together, by (worker, method)."""
    found: dict[tuple[Any, ...], Group] = {}
    for case in raw["cases"]:
        if case["kind"] == kind and "ms_per_search" in case:
            key = (case.get("model"), case.get("values"), case["B"], case["A"], case["S"])
            found.setdefault(key, {})[case["worker"], case["method"]] = case
    for group in found.values():
        yield next(iter(group.values())), group


def names(columns: tuple[Method, ...] = COLUMNS) -> list[str]:
    """The columns' titles."""
    return [f"{worker} {method}" for worker, method in columns]


def clock(raw: dict[str, Any]) -> str:
    """Which time is told."""
    return "CPU" if raw["threads"] == 1 else "wall"


def timed(raw: dict[str, Any], case: dict[str, Any] | None) -> float | None:
    """Median milliseconds of a search; None where it did not run."""
    if case is None:
        return None
    field = "cpu_ms_per_search" if clock(raw) == "CPU" else "ms_per_search"
    return float(case[field]["median"])


def us_of(milliseconds: float, case: dict[str, Any]) -> float:
    """Microseconds of one simulation of one root."""
    return milliseconds * 1e3 / float(case["B"] * case["S"])


def times_as_fast(
    raw: dict[str, Any], group: Group, ours: Method, peers: tuple[Method, ...]
) -> str:
    """The time of the fastest of these peers over ours."""
    mine = timed(raw, group.get(ours))
    found = [ms for ms in (timed(raw, group.get(peer)) for peer in peers) if ms is not None]
    return f"{min(found) / mine:.2f}x" if found and mine else ""


def header(keys: list[str], columns: list[str]) -> Iterator[str]:
    """Two lines that start a table."""
    yield row([*keys, *columns])
    yield "|" + "---|" * (len(keys) + len(columns))


def row(cells: list[Any]) -> str:
    """A line of a table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


class Panel(NamedTuple):
    """A part of the picture."""

    title: str
    unit: str
    belongs: Callable[[dict[str, Any]], bool]


PANELS = (
    Panel(
        "tree alone, A=6, S=50, random values",
        "µs per simulation and root",
        lambda case: (case["values"], case["A"], case["S"]) == ("random", 6, 50),
    ),
    Panel("MLP, A=2, S=50", "ms per search", lambda case: case["model"] == "mlp"),
    Panel("64x64 network, A=6, S=50", "ms per search", lambda case: case["model"] == "atari64"),
)


def draw(raw: dict[str, Any], path: Path) -> None:
    """A panel for the tree and one for each network: time over the number of roots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(13, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for method, points in curves(raw, panel).items():
            axes.plot(
                *zip(*sorted(points), strict=True),
                marker="o",
                markersize=4,
                linewidth=2.2 if method in OURS else 1.2,
                linestyle="-" if method in OURS else "--",
                color=f"C{TREE_COLUMNS.index(method)}",
                label=" ".join(method),
            )
        axes.set(title=panel.title, xlabel="roots searched together", ylabel=panel.unit)
        if axes.lines:
            axes.set(xscale="log", yscale="log")
            batches = sorted({int(x) for line in axes.lines for x in line.get_xdata()})
            axes.set_xticks(batches, [str(batch) for batch in batches])
            axes.set_xticks([], minor=True)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.legend(fontsize=8)
        axes.grid(alpha=0.3, which="both")
    figure.suptitle(f"{clock(raw)} time, {raw['machine']['processor']}", fontsize=10)
    figure.savefig(path)


def curves(raw: dict[str, Any], panel: Panel) -> dict[Method, list[tuple[int, float]]]:
    """Points (B, time) of each method."""
    found: dict[Method, list[tuple[int, float]]] = {}
    for case in raw["cases"]:
        method = (case["worker"], case["method"])
        if "ms_per_search" not in case or method not in TREE_COLUMNS:
            continue
        ms = timed(raw, case)
        if ms is not None and panel.belongs({"values": None, "model": None, **case}):
            point = us_of(ms, case) if panel.unit.startswith("µs") else ms
            found.setdefault(method, []).append((case["B"], point))
    return found

"""Table and picture of `benchmarks.reanalyse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAIVE = ("unrolled", "policy", "unique")  # counts of the naive way's searches, see `Counts`


def row_of(row: dict[str, Any]) -> str:
    """One scenario as a line of Markdown."""
    scenario, searches, share = row["scenario"], row["searches"], row["share_of_naive"]
    spread = scenario["priority_spread"]
    millions = [f"{searches[name] / 1e6:.1f}" for name in (*NAIVE, "remembered_way")]
    held = "yes" if max(share.values()) <= row["claim"] else "NO"
    cells = [
        str(scenario["interval"]),
        f"lognormal, {spread:g}" if spread else "all alike",
        *millions,
        *(f"{share[name]:.1%}" for name in ("policy", "unique")),
        f"{row['share_of_naive_once_full']['policy']:.1%}",
        f"{row['hit_rate']:.1%}",
        f"{row['claim']:.1%}: {held}",
    ]
    return f"| {' | '.join(cells)} |"


def table(report: dict[str, Any]) -> str:
    """The scenarios as Markdown."""
    head = (
        "updates between target networks | priorities | naive: 256 x 6 | naive: policy positions "
        "| naive: policy and bootstrap, each once a batch | remembered | share of policy positions "
        "| share of both | share of policy positions, buffer full | hit rate | claim, at most"
    )
    row, machine = report["rows"][0], report["machine"]
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|"]
    lines += [row_of(row) for row in report["rows"]]
    lines += [
        "",
        f"Millions of positions searched. {row['env_steps']} env steps in {row['episodes']} "
        f"episodes, {row['updates']} updates of 256, unroll 5, td 5; the remembered way searches "
        "policy and bootstrap positions. The claim is held against the smallest of the naive "
        f"counts. Seed {report['seed']}; no count depends on the machine ({machine['cpus']} "
        f"cores, numpy {machine['numpy']}, commit {machine['commit']}).",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


def draw(folder: Path, rows: list[dict[str, Any]]) -> None:
    """All counts over updates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curve = rows[0]["curve"]
    updates = [point["updates"] / 1000 for point in curve]
    for name, label in (("unique", "policy and bootstrap, once a batch"), ("policy", "policy")):
        axes.plot(updates, [p[name] / 1e6 for p in curve], color="0.6", label=f"naive: {label}")
    shortest = min(row["scenario"]["interval"] for row in rows)
    for row in rows:
        scenario = row["scenario"]
        kind = "lognormal" if scenario["priority_spread"] else "all alike"
        axes.plot(
            updates,
            [point["remembered_way"] / 1e6 for point in row["curve"]],
            color="C0" if scenario["interval"] == shortest else "C1",
            linestyle="-" if scenario["priority_spread"] else ":",
            label=f"remembered: every {scenario['interval']} updates, {kind}",
        )
    axes.lines[1].set_linestyle("--")
    axes.set(xlabel="thousand updates", ylabel="million positions searched")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(folder / "curves.png")

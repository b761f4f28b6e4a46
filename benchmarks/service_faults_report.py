"""benchmarks/results/service_faults as a table and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
LOAD_HEAD = [
    "| | answered | failed | p50 ms | p99 ms | max ms | longest time without an answer, ms |",
    "|---|---|---|---|---|---|---|",
]


def write_report(result: dict[str, Any], folder: Path) -> None:
    """Writes table.md and memory.png."""
    lines: list[str] = []
    for name in ("reload", "kill", "overload", "soak"):
        if name in result:
            lines += [*SECTIONS[name](result[name]), ""]
    machine = next(iter(result.values()))["machine"]
    commits = ", ".join(f"{name} {part['machine']['commit']}" for name, part in result.items())
    lines += [
        f"{machine['processor']}, {machine['cpus']} cores shared by service and clients, "
        f"ray {machine['ray']}, torch {machine['torch']}; commits: {commits}.",
        "",
        "    python -m benchmarks.service_faults runs/RUN",
    ]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    if "soak" in result:
        draw(result["soak"], folder / "memory.png")


def load_row(name: str, load: dict[str, Any]) -> str:
    """A span of time under load."""
    gap = load["longest_gap_ms"]
    failed = ", ".join(f"{n} x {how}" for how, n in load["failed"].items()) or "0"
    gap_text = "-" if gap is None else f"{gap:.0f}"
    return (
        f"| {name} | {load['answered']} | {failed} | {load['p50_ms']:.1f} | "
        f"{load['p99_ms']:.1f} | {load['max_ms']:.1f} | {gap_text} |"
    )


def reload_section(part: dict[str, Any]) -> list[str]:
    """Loads and rollbacks under load."""
    seconds = part["seconds_a_load"]
    return [
        f"**{part['loads']} loads and {part['rollbacks']} rollbacks under 8 clients without "
        f"retries** ({part['model']}); a load takes {np.median(seconds):.2f} s:",
        "",
        *LOAD_HEAD,
        load_row("before", part["quiet"]),
        load_row("reloading", part["reloading"]),
    ]


def kill_section(part: dict[str, Any]) -> list[str]:
    """The replica killed."""
    kills, patient = part["kills"], part["clients_that_retry"]
    ready = [kill["ready_again_s"] for kill in kills]
    first = [kill["first_answer_s"] for kill in kills]
    failed = [sum(kill["failed"].values()) for kill in kills]
    return [
        f"**The only replica killed (-9) {len(kills)} times under load** ({part['model']}): ready "
        f"again after {min(ready):.1f} to {max(ready):.1f} s, first answer after {min(first):.1f} "
        f"to {max(first):.1f} s; of 8 clients without retries {min(failed)} to {max(failed)} "
        f"requests failed each time; of 4 `ActionClient`s {len(patient['errors'])} of "
        f"{patient['answered']} calls.",
    ]


def overload_section(part: dict[str, Any]) -> list[str]:
    """More than can be answered."""
    first, last = (
        part["samples"][i].get("replica", 0) / MIB for i in (len(part["samples"]) // 3, -1)
    )
    return [
        f"**256 clients at 200 simulations, a queue of 64** ({part['model']}); the replica's own "
        f"memory {part['memory_before'].get('replica', 0) / MIB:.0f} MiB before, {first:.0f} after "
        f"10 s of it, {last:.0f} after 30 s:",
        "",
        *LOAD_HEAD,
        load_row("8 clients before", part["usual"]),
        load_row("256 clients", part["overrun"]),
        load_row("8 clients after", part["after"]),
    ]


def soak_section(part: dict[str, Any]) -> list[str]:
    """Left alone under full load."""
    lines = [
        f"**{part['minutes']:g} minutes of 64 clients** ({part['model']}): "
        f"{part['load']['answered']} answered, failed {sum(part['load']['failed'].values())}.",
        "",
        "| process | MiB after 1 minute | MiB at the end | growth in each quarter, MiB |",
        "|---|---|---|---|",
    ]
    for role in ("replica", "board", "proxy", "ray"):
        start = near(part["samples"], 60.0).get(role, 0) / MIB
        end = part["samples"][-1].get(role, 0) / MIB
        grown = " ".join(f"{mib:+.1f}" for mib in quarters(part["samples"], role))
        lines.append(f"| {role} | {start:.1f} | {end:.1f} | {grown} |")
    return lines


SECTIONS = {
    "reload": reload_section,
    "kill": kill_section,
    "overload": overload_section,
    "soak": soak_section,
}


def near(samples: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The sample closest to a moment."""
    return min(samples, key=lambda sample: abs(sample["seconds"] - seconds))


def quarters(samples: list[dict[str, Any]], role: str) -> list[float]:
    """How much memory grew in each quarter of the time."""
    sizes = [sample.get(role, 0) / MIB for sample in samples]
    edges = [round(i * (len(sizes) - 1) / 4) for i in range(5)]
    return [sizes[b] - sizes[a] for a, b in zip(edges[:-1], edges[1:], strict=True)]


def draw(part: dict[str, Any], path: Path) -> None:
    """Memory over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="minutes of 64 clients", ylabel="own memory, MiB")
    minutes = [sample["seconds"] / 60 for sample in part["samples"]]
    for role in ("replica", "board", "proxy", "ray"):
        axes.plot(minutes, [s.get(role, 0) / MIB for s in part["samples"]], label=role)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    folder = Path(__file__).parent / "results" / "service_faults"
    write_report(json.loads((folder / "result.json").read_text()), folder)

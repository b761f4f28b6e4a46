"""How long a batched search of the paper's network takes on a GPU, and where the time goes.

    python -m benchmarks.gpu_search --out benchmarks/results/gpu_search

For each number of roots, simulations and form of the network: a whole search (`search`, from
estimated roots to results on the host), its captured graph alone, and a graph of its network calls
alone. Writes result.json and table.md after every case; ends with status 2 without a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import paper

ROOTS = (8, 64, 256, 1536)
SIMULATIONS = (16, 50)
FORMS: dict[str, dict[str, Any]] = {
    "f32": {},
    "bf16": {"dtype": torch.bfloat16},
    "bf16 compiled": {"dtype": torch.bfloat16, "compiled": True},
}
MFLOP = 18.2  # a simulation and root: reference/EFFICIENTZERO.md, 1.10
COLUMNS = ("form", "roots", "simulations", "search_ms", "graph_ms", "network_ms")
COLUMNS += ("outside_network", "tflops", "capture_s", "room_mib", "reserved_mib")


def main() -> None:
    """Measures case after case; one that fails is noted, and the next begins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seconds", type=float, default=1.0, help="per number measured")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu_search needs a CUDA device: there is none")
        sys.exit(2)
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": paper.machine(), "mflop": MFLOP, "cases": []}
    for form in options.forms:
        for roots, simulations in itertools.product(ROOTS, SIMULATIONS):
            case: dict[str, Any] = {"form": form, "roots": roots, "simulations": simulations}
            try:
                case |= measured(form, roots, simulations, seconds=options.seconds)
            except Exception as error:  # the next case may work
                case["error"] = f"{type(error).__name__}: {error}"
            report["cases"].append(case)
            print(line(case), flush=True)
            (options.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
            (options.out / "table.md").write_text(table(report))


def measured(form: str, roots: int, simulations: int, *, seconds: float) -> dict[str, float]:
    """One case, with a model of its own so that its memory is its own."""
    from rllib_ez.core.config import SearchConfig
    from rllib_ez.core.gpu.model import GpuModel
    from rllib_ez.core.gpu.room import room_bytes
    from rllib_ez.core.gpu.search import graph_of
    from rllib_ez.core.search import search

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = GpuModel(paper.network(), **FORMS[form])
    root = model.root(paper.observations(roots))
    config = SearchConfig(num_simulations=simulations)
    seeds = np.arange(roots, dtype=np.uint64)

    def whole() -> None:
        search(model, root, config=config, seeds=seeds, root_noise=True)

    began = time.perf_counter()
    whole()
    capture_s = time.perf_counter() - began
    search_ms = paper.median_ms(whole, seconds=seconds)
    ((size, capture),) = model.searches.captures.items()
    room = capture.room
    action = torch.zeros(size.batch, dtype=torch.int64, device=model.device)

    def network_alone() -> None:
        for _ in range(simulations):
            room.network.step(room.latent, room.memory, action)

    with torch.no_grad():
        alone = graph_of(network_alone, torch.cuda.Stream())
    graph_ms = paper.median_ms(capture.graph.replay, seconds=seconds)
    network_ms = paper.median_ms(alone.replay, seconds=seconds)
    return {
        "search_ms": search_ms,
        "graph_ms": graph_ms,
        "network_ms": network_ms,
        "outside_network": 1 - network_ms / search_ms,
        "tflops": MFLOP * 1e6 * roots * simulations / (search_ms * 1e-3) / 1e12,
        "capture_s": capture_s,
        "room_mib": room_bytes(size, room.network) / 2**20,
        "reserved_mib": torch.cuda.max_memory_reserved() / 2**20,
    }


def line(case: dict[str, Any]) -> str:
    """A case in a line."""
    head = f"search roots={case['roots']} simulations={case['simulations']} {case['form']}:"
    if "error" in case:
        return f"{head} {case['error']}"
    return (
        f"{head} {case['search_ms']:.2f} ms, graph {case['graph_ms']:.2f} ms, "
        f"network alone {case['network_ms']:.2f} ms, outside it {case['outside_network']:.0%}, "
        f"{case['tflops']:.1f} TFLOP/s, {case['reserved_mib']:.0f} MiB"
    )


def table(report: dict[str, Any]) -> str:
    """All cases as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for case in report["cases"]:
        cells = [case.get(name, "failed") for name in COLUMNS]
        numbers = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
        lines.append(f"| {' | '.join(numbers)} |")
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return "\n".join([*lines, "", f"{machine}.", "", "    python -m benchmarks.gpu_search", ""])


if __name__ == "__main__":
    main()

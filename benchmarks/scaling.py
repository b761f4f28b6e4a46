"""What 26 games x 3 seeds cost on 1, 8 and 64 GPUs, from stage times; and what holds them up.

    python -m benchmarks.scaling                      # fills docs/scaling.md
    python -m benchmarks.scaling --times mine.json    # stage times of your own, on the screen

Stage times come from benchmarks/results: the CPU's from pong_paper and checkpoint, a GPU's from
gpu/*/result.json where there are any (benchmarks/gpu/run.sh). What no GPU has measured is assumed,
at both ends of a range, and every time says where it is from. mine.json is a list of
{"name": ..., "stages": {STAGE: {"seconds": ..., "source": ...}}}; PARTS names the stages.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.scaling_times import (
    CPU,
    ON_GPU,
    PARTS,
    RESULTS,
    Times,
    Work,
    read_times,
    scenarios,
    units,
    work_counted,
)

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "scaling.md"
MARKER = re.compile(r"(<!-- scaling: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

ALL_REDUCE_BYTES_PER_S, ALL_REDUCE_LATENCY_S = 100e9, 1e-4  # assumed: GPUs of one node
NUM_RUNS, GPUS, RUNS_PER_GPU, ONE_GAME_GPUS = 26 * 3, (1, 8, 64), (1, 2, 4), (1, 2, 4, 8)
CORES_PER_RUN = 2  # those that the CPU's stages were measured with
WEIGHT_BYTES = 8_431_732 * 4  # gradients, f32


def game_seconds(times: Times, work: Work) -> dict[str, float]:
    """Seconds of each stage over one game."""
    return {name: times[name].seconds * count for name, count in units(work).items()}


def gpu_seconds(stages: Mapping[str, float]) -> float:
    """What of it keeps the GPU from other runs."""
    return sum(stages[name] for name in ON_GPU)


def bottleneck(stages: Mapping[str, float]) -> tuple[str, float, float]:
    """The longest stage, its share, and how many times as fast a run were without it."""
    name = max(stages, key=stages.__getitem__)
    share = stages[name] / sum(stages.values())
    return name, share, 1 / (1 - share) if share < 1 else math.inf


def shared_seconds(stages: Mapping[str, float], runs: int) -> float:
    """A run's wall time beside others on one GPU, if all they share is the GPU, without loss.

    max(its stages one after the other, all runs' time on the GPU)
    """
    return max(sum(stages.values()), runs * gpu_seconds(stages))


def side_by_side_seconds(stages: Mapping[str, float], work: Work) -> float:
    """A run of actors on one GPU, from below: the slowest alone, then what waits for nobody.

    max(GPU, replay and copies, env steps of training, the driver) + evaluation + checkpoints
    """
    played = work.env_steps / units(work)["env steps"]
    alone = (1 - played) * stages["env steps"] + stages["evaluation"] + stages["checkpoints"]
    return alone + max(
        gpu_seconds(stages) - stages["evaluation"],
        stages["replay"] + stages["copies"],
        played * stages["env steps"],
        work.updates * driver_seconds(),
    )


def driver_seconds(results: Path = RESULTS) -> float:
    """Wall time of an update of the pipeline with one actor a role, where nothing takes time."""
    rows = json.loads((results / "pipeline_quiet" / "result.json").read_text())["rows"]
    ms = [r["ms_per_update"] for r in rows if (r["layout"], r["slowest"]) == ("2111", "nothing")]
    return float(ms[0]) / 1e3


def list_schedule(seconds: Sequence[float], slots: int) -> float:
    """When the last ends if each, in order, starts on the slot that is free first."""
    free = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def several_gpus_seconds(stages: Mapping[str, float], gpus: int, updates: int) -> float:
    """One game whose learner and reanalyse are split evenly; the other stages stay as they are.

        rest + (learner + reanalyse) / G + updates * (latency + 2 (G - 1) / G * gradients / speed)

    The second term is a bound from below: a part of a batch does not take a part of its time.
    """
    split = stages["learner"] + stages["reanalyse"]
    reduce = 2 * (gpus - 1) / gpus * WEIGHT_BYTES / ALL_REDUCE_BYTES_PER_S + ALL_REDUCE_LATENCY_S
    return sum(stages.values()) - split + split / gpus + (gpus > 1) * updates * reduce


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def time_table(found: Mapping[str, Times]) -> str:
    """Every stage time with its source."""
    rows = [
        [name, unit, *(f"{1e3 * t[name].seconds:.3g} ({t[name].source})" for t in found.values())]
        for name, unit in PARTS.items()
    ]
    return markdown(["stage", "unit", *(f"{name}: ms a unit" for name in found)], rows)


def game_table(found: Mapping[str, Times], work: Work) -> str:
    """Seconds of a game."""
    games = {name: game_seconds(times, work) for name, times in found.items()}
    count = units(work)
    rows = [
        [part, f"{count[part]:,.0f}", *(f"{game[part]:,.0f}" for game in games.values())]
        for part in PARTS
    ]
    every = list(games.values())
    longest = [bottleneck(game) for game in every]
    rows += [
        ["**sum, hours**", "", *(f"**{sum(g.values()) / 3600:.2f}**" for g in every)],
        [
            "of it network and search",
            "",
            *(f"{gpu_seconds(g) / sum(g.values()):.0%}" for g in every),
        ],
        ["longest stage", "", *(f"{name}, {share:.0%}" for name, share, _ in longest)],
        ["without it, times as fast", "", *(f"{gain:.2f}" for *_, gain in longest)],
        [
            "with actors, hours, at least",
            "",
            *(f"{side_by_side_seconds(g, work) / 3600:.2f}" for g in every),
        ],
    ]
    return markdown(["seconds a game", "units", *games], rows)


def runs_table(found: Mapping[str, Times], work: Work) -> str:
    """All runs on some GPUs."""
    memory = json.loads((RESULTS / "pong_paper" / "result.json").read_text())["peak_rss_bytes"]
    rows = []
    for name, times in found.items():
        stages = game_seconds(times, work)
        for gpus, each in itertools.product(GPUS, RUNS_PER_GPU):
            if each > math.ceil(NUM_RUNS / gpus):
                continue
            hours = list_schedule([shared_seconds(stages, each)] * NUM_RUNS, gpus * each) / 3600
            computing = NUM_RUNS * gpu_seconds(stages) / 3600 / (gpus * hours)
            at_once = min(NUM_RUNS, gpus * each)
            rows.append([
                name, str(gpus), str(each), f"{hours:,.1f}", f"{gpus * hours:,.0f}",
                f"{computing:.0%}", str(CORES_PER_RUN * at_once), f"{at_once * memory / 1e9:,.0f}",
                held_up_by(stages, gpus, each),
            ])  # fmt: skip
    head = ["stage times", "GPUs", "runs a GPU", "hours", "GPU hours", "GPUs computing"]
    return markdown([*head, "CPU cores", "GB of memory", "held up by"], rows)


def held_up_by(stages: Mapping[str, float], gpus: int, each: int) -> str:
    """Why it does not end sooner."""
    full = each * gpu_seconds(stages) >= sum(stages.values())
    longest = bottleneck({name: stages[name] for name in ON_GPU} if full else stages)[0]
    last = NUM_RUNS % (gpus * each)
    places = f"; the last wave fills {last} of {gpus * each} places" if last else ""
    return (f"the GPU: {longest}" if full else f"one run's stages in turn: {longest}") + places


def one_game_table(found: Mapping[str, Times], work: Work) -> str:
    """One game on several GPUs."""
    rows = []
    for name, times in found.items():
        stages = game_seconds(times, work)
        hours = [several_gpus_seconds(stages, n, work.updates) / 3600 for n in ONE_GAME_GPUS]
        rows.append([name, *(f"{h:.2f} h, {hours[0] / h:.2f}x" for h in hours)])
    return markdown(["stage times", *(f"{n} GPU{'s' * (n > 1)}" for n in ONE_GAME_GPUS)], rows)


def tables(found: Mapping[str, Times], work: Work) -> dict[str, str]:
    """All tables by the name of their place in docs/scaling.md."""
    gpu = {name: times for name, times in found.items() if name != CPU}
    return {
        "times": time_table(found),
        "game": game_table(found, work),
        "runs": runs_table(gpu, work),
        "one_game": one_game_table(gpu, work),
    }


def filled(text: str) -> str:
    """The document with every table as it is computed now."""
    by_name = tables(scenarios(), work_counted())
    return MARKER.sub(lambda match: f"{match[1]}{by_name[match[2]]}{match[3]}", text)


def main() -> None:
    """Fills the document, or prints the tables of other stage times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=Path, help="stage times as JSON; then nothing is written")
    options = parser.parse_args()
    if options.times is None:
        DOC.write_text(filled(DOC.read_text()))
    found = scenarios() if options.times is None else read_times(options.times)
    print("\n".join(tables(found, work_counted()).values()))


if __name__ == "__main__":
    main()

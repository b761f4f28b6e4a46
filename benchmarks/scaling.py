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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOC = ROOT / "docs" / "scaling.md"
MARKER = re.compile(r"(<!-- scaling: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

UPDATE_FLOP, ROOT_FLOP, ENCODE_FLOP = 0.75e12, 1.212e9, 303e6  # reference/EFFICIENTZERO.md, 1.10
PEAK_FLOPS = 790e12  # bf16 product of large matrices on an H200: told to us, not measured by us
FRAME_BYTES = 96 * 96 * 3
BATCH_BYTES = 256 * (4 + 5) * FRAME_BYTES  # a stack of 4 and 5 unrolled steps
ROOT_BYTES = 4 * FRAME_BYTES
WEIGHT_BYTES = 8_431_732 * 4  # gradients, f32
ALL_REDUCE_BYTES_PER_S, ALL_REDUCE_LATENCY_S = 100e9, 1e-4  # assumed: GPUs of one node
NUM_RUNS, GPUS, RUNS_PER_GPU, ONE_GAME_GPUS = 26 * 3, (1, 8, 64), (1, 2, 4), (1, 2, 4, 8)
CPU = "CPU, 2 cores"
CORES_PER_RUN = 2  # those that the CPU's stages were measured with


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of what is assumed of a GPU."""

    name: str
    share: float  # of PEAK_FLOPS that network code reaches
    search_seconds: float  # of 50 simulations for few roots: 50 steps that wait for each other
    copy_bytes_per_s: float  # from the host's memory to the GPU's


ENDS = (
    End(name="H200, 10 %", share=0.1, search_seconds=0.02, copy_bytes_per_s=25e9),
    End(name="H200, 40 %", share=0.4, search_seconds=0.005, copy_bytes_per_s=50e9),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Seconds of one unit of a stage."""

    seconds: float
    source: str  # "measured: ...", "computed: ..." or "assumed: ..."

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError(f"seconds must be >= 0, got {self.seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One game: how often each unit is done."""

    env_steps: int = 100_000
    random_steps: int = 2_000
    num_envs: int = 4
    updates: int = 120_000  # the paper's: 20,000 of them after the last env step
    roots: int  # positions searched anew, each once a target network
    evaluations: int = 10
    episodes: int = 32  # of an evaluation
    episode_steps: int = 1_300  # assumed, as the longest: benchmarks/reanalyse.py simulates these
    longest_steps: int = 4_000  # all 32 are played at once, so the longest sets the searches
    checkpoints: int = 10


PARTS = {  # a stage and its unit
    "learner": "update of 256",
    "reanalyse": "root, 50 simulations",
    "acting": "search for 4 games",
    "evaluation": "search for up to 32 games",
    "env steps": "step of 4 frames",
    "replay": "update: draw, gather, targets",
    "copies": "GB from host to GPU",
    "checkpoints": "checkpoint",
}
ON_GPU = ("learner", "reanalyse", "acting", "evaluation")
Times = Mapping[str, Time]


def units(work: Work) -> dict[str, float]:
    """How often a game does each stage's unit."""
    played = work.evaluations * work.episodes * work.episode_steps
    return {
        "learner": work.updates,
        "reanalyse": work.roots,
        "acting": (work.env_steps - work.random_steps) / work.num_envs,
        "evaluation": work.evaluations * work.longest_steps,
        "env steps": work.env_steps + played,
        "replay": work.updates,
        "copies": (work.updates * BATCH_BYTES + work.roots * ROOT_BYTES) / 1e9,
        "checkpoints": work.checkpoints,
    }


def cpu_times(results: Path) -> dict[str, Time]:
    """What the runs without a GPU measured."""
    pong = json.loads((results / "pong_paper" / "result.json").read_text())
    saves = json.loads((results / "checkpoint" / "result.json").read_text())["saves"]
    stage, where = pong["stage_seconds"], "measured: pong_paper, 2 cores"
    random = int(dict(s.split("=") for s in pong["changed"])["num_random_steps"])
    root = stage["reanalyse"] / pong["roots_reanalysed"]
    per = {
        "learner": stage["learn"] / pong["updates"],
        "reanalyse": root,
        "acting": stage["search"] / ((pong["env_steps"] - random) / 4),
        "env steps": stage["env"] / pong["env_steps"],
        "replay": stage["replay"] / pong["updates"],
    }
    return {name: Time(seconds=value, source=where) for name, value in per.items()} | {
        "evaluation": Time(seconds=32 * root, source="computed: 32 roots as in reanalyse"),
        "copies": Time(seconds=0.0, source="computed: there is no other memory"),
        "checkpoints": Time(
            seconds=max(save["seconds"] for save in saves),
            source="measured: checkpoint, all 2.8 GB new",
        ),
    }


def assumed_times(end: End, peak: float) -> dict[str, Time]:
    """What is taken of a GPU that nobody measured, in the place of the CPU's."""
    flops = end.share * peak
    at = f"assumed: {end.share:.0%} of {peak / 1e12:.0f} TFLOP/s"
    alone = Time(seconds=end.search_seconds, source="assumed: 50 steps in turn")
    return {
        "learner": Time(seconds=UPDATE_FLOP / flops, source=at),
        "reanalyse": Time(seconds=ROOT_FLOP / flops, source=at),
        "acting": alone,
        "evaluation": alone,
        "copies": Time(
            seconds=1e9 / end.copy_bytes_per_s,
            source=f"assumed: {end.copy_bytes_per_s / 1e9:.0f} GB/s",
        ),
    }


def gpu_cases(results: Path) -> tuple[list[dict[str, Any]], float | None, str]:
    """Every case that a GPU measured, the best matrix product in FLOP/s, and the GPU's name."""
    reports = [json.loads(path.read_text()) for path in sorted(results.glob("gpu/*/result.json"))]
    cases = [case for one in reports for case in one["cases"] if "error" not in case]
    peaks = [one["peak_tflops"] * 1e12 for one in reports if "peak_tflops" in one]
    names = {one["machine"]["gpu"] for one in reports}
    return cases, max(peaks, default=None), ", ".join(sorted(names))


def gpu_times(cases: Sequence[dict[str, Any]], encode_seconds: float) -> dict[str, Time]:
    """What a GPU measured, each in its fastest form.

    Args:
        cases: of benchmarks/gpu_learner.py and gpu_search.py.
        encode_seconds: of one root's representation, which gpu_search leaves out.
    """
    found: dict[str, Time] = {}
    updates = [case["update_ms"] for case in cases if "update_ms" in case]
    if updates:
        found["learner"] = Time(seconds=min(updates) / 1e3, source="measured: gpu/learner")
    for stage, roots, share in (("reanalyse", 1536, 1536), ("acting", 8, 1), ("evaluation", 64, 1)):
        asked = (case for case in cases if case.get("simulations") == 50)
        ms = [case["search_ms"] for case in asked if case["roots"] == roots]
        if ms:
            encode = encode_seconds * roots / share
            source = f"measured: gpu/search, {roots} roots, its encoding assumed"
            found[stage] = Time(seconds=min(ms) / 1e3 / share + encode, source=source)
    return found


def scenarios(results: Path = RESULTS) -> dict[str, dict[str, Time]]:
    """Stage times by name: the CPU, then both ends of a GPU."""
    cpu = cpu_times(results)
    cases, peak, gpu = gpu_cases(results)
    found = {CPU: cpu}
    for end in ENDS:
        peak_here = peak or PEAK_FLOPS
        measured = gpu_times(cases, ENCODE_FLOP / (end.share * peak_here))
        name = f"{gpu}, rest as {end.name}" if measured else end.name
        found[name] = cpu | assumed_times(end, peak_here) | measured
    return found


def work_counted(results: Path = RESULTS) -> Work:
    """A game, with the searches that benchmarks/reanalyse.py counted (interval 200)."""
    rows = json.loads((results / "reanalyse" / "result.json").read_text())["rows"]
    row = next(row for row in rows if row["scenario"]["interval"] == 200)
    return Work(roots=row["searches"]["remembered_way"], updates=row["updates"])


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


def read_times(path: Path) -> dict[str, dict[str, Time]]:
    """Somebody's own stage times.

    Raises:
        ValueError: a stage is missing or unknown, or a time is negative.
    """
    found = {}
    for one in json.loads(path.read_text()):
        if one["stages"].keys() != PARTS.keys():
            raise ValueError(f"stages must be {', '.join(PARTS)}, got {', '.join(one['stages'])}")
        found[one["name"]] = {name: Time(**time) for name, time in one["stages"].items()}
    return found


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

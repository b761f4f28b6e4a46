"""The seconds of a run's stages, measured, computed or assumed; `scaling.py` reckons with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

UPDATE_FLOP, ROOT_FLOP, ENCODE_FLOP = 0.75e12, 1.212e9, 303e6  # reference/EFFICIENTZERO.md, 1.10
PEAK_FLOPS = 790e12  # bf16 product of large matrices on an H200: told to us, not measured by us
FRAME_BYTES = 96 * 96 * 3
BATCH_BYTES = 256 * (4 + 5) * FRAME_BYTES  # a stack of 4 and 5 unrolled steps
ROOT_BYTES = 4 * FRAME_BYTES
CPU = "CPU, 2 cores"


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

"""How long a checkpoint of 100,000 Atari frames takes, and whether a resumed run is the same run.

    python -m benchmarks.checkpoint

The paper's frames, stack and replay capacity, with a network so small that a CPU trains it. Replay
is filled with Pong's frames under noise; then come some rounds of training, a first checkpoint,
10,000 new frames and some rounds more, a second one. A new process goes on from that, and must
get to the same bits as the run that was never stopped. Writes benchmarks/results/checkpoint/
result.json and table.md. Needs 6 GB of disk and of memory.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from cli.quiet_ray import local_ray
from rllib_ez.algorithm.actors import WARM_EPISODES
from rllib_ez.core.types import Segment
from rllib_ez.envs import make_env
from rllib_ez.runs.plan import make_plan

FOLDER = Path(__file__).parent / "results" / "checkpoint"
EPISODE = 1000  # steps of those that fill replay
TARGET_SECONDS = 10.0  # of a save that is not the first
SMALL = (
    "latent_channels=4 lstm_size=16 head_channels=2 head_hidden_size=8 projection_size=16 "
    "prediction_hidden_size=8 value_bins=21 value_prefix_bins=21 batch_size=16 num_simulations=4 "
    "num_random_steps=20 rollout_fragment_length=5 replay_ratio=0.25 target_update_every_updates=8"
).split()


def main() -> None:
    """Measures and writes; with --resume, is the new process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=100_000, help="that replay holds")
    parser.add_argument("--new-frames", type=int, default=10_000, help="between two checkpoints")
    parser.add_argument("--rounds", type=int, default=10, help="of 20 steps and 5 updates each")
    parser.add_argument("--folder", type=Path, help="for the checkpoints; a temporary one if not")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with local_ray(num_cpus=2):
        if args.resume is not None:
            print(json.dumps(resume(args)))
            return
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            report = {"machine": describe_machine(), **measure(args, Path(folder))}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "table.md").write_text(table(report))
    print(table(report))


def make_algorithm(num_positions: int) -> Any:
    """Pong by the preset atari100k, with a small network, all in this process."""
    plan, _ = make_plan(
        env=None,
        game="pong",
        preset=["atari100k"],
        assignments=[*SMALL, f"replay_capacity={num_positions}"],
        options={"seed": 0},
    )
    return plan.config().debugging(log_level="ERROR").build_algo()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both saves, the way on, and the same from another process."""
    algo = make_algorithm(args.positions)
    frames = recorded_frames(num_steps=500)
    fill(algo, frames, num_steps=args.positions, first=0)
    saves = []
    for number in range(2):
        if number:
            fill(algo, frames, num_steps=args.new_frames, first=args.positions)
        train(algo, args.rounds)
        saves.append(save(algo, folder / f"checkpoint_{number}", before=folder / "checkpoint_0"))
    saved = digests(algo)
    shard = algo.pipeline.shards.workers[0].target.shard
    size = {"positions": shard.replay.num_positions, "replay_bytes": shard.replay.nbytes}
    began = time.perf_counter()
    train(algo, args.rounds)
    seconds = time.perf_counter() - began
    straight = digests(algo)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    algo.stop()
    del algo, shard
    gc.collect()
    forget_files(folder)
    resumed = in_new_process(args, folder / "checkpoint_1", num_rounds=args.rounds)
    again = in_new_process(args, folder / "checkpoint_1", num_rounds=0)
    check_training_changes(saved, straight)
    return {
        **size,
        "frame_shape": list(frames.shape[1:]),
        "new_frames": args.new_frames,
        "saves": saves,
        "load_seconds": {"disk": resumed["load_seconds"], "page cache": again["load_seconds"]},
        "rounds": args.rounds,
        "seconds_per_round": round(seconds / args.rounds, 2),
        "peak_rss_bytes": peak,
        "same_when_loaded": compared(saved, resumed["loaded"]),
        "same_after_training_on": compared(straight, resumed["trained"]),
        "digests": straight,
    }


def recorded_frames(num_steps: int) -> np.ndarray:
    """Frames [4 * num_steps, 96, 96, 3] of four games of Pong, played at random."""
    env, rng = make_env("pong", 4, training=True), np.random.default_rng(0)
    frames = [env.reset(np.arange(4), np.arange(4))]
    for _ in range(num_steps - 1):
        frames.append(env.step(rng.integers(env.action_space.n, size=4)).frames)
    env.close()
    return np.stack(frames, axis=1).reshape(-1, *frames[0].shape[1:])


def fill(algo: Any, frames: np.ndarray, *, num_steps: int, first: int) -> None:
    """Adds steps that do not count as the run's own, as an archive's do not."""
    shard = algo.pipeline.shards.workers[0].target.shard
    for segment in segments(frames, num_steps, algo.config.env_spec().num_actions, first=first):
        algo.pipeline.shards.take(0, shard.add([segment], warm=True))


def segments(
    frames: np.ndarray, num_steps: int, num_actions: int, *, first: int
) -> Iterator[Segment]:
    """Whole episodes; the frames are told apart by noise in their lowest bits."""
    rng = np.random.default_rng(first)
    for start in range(first, first + num_steps, EPISODE):
        length = min(EPISODE, first + num_steps - start)
        places = (rng.integers(len(frames)) + np.arange(length + 1)) % len(frames)
        noise = rng.integers(8, size=(length + 1, *frames.shape[1:]), dtype=np.uint8)
        yield Segment(
            episode_id=WARM_EPISODES + start,
            is_first=True,
            frames=frames[places] ^ noise,
            action=rng.integers(num_actions, size=length).astype(np.int32),
            reward=rng.integers(-1, 2, size=length).astype(np.float32),
            policy=rng.dirichlet(np.ones(num_actions), size=length).astype(np.float32),
            root_value=rng.normal(size=length).astype(np.float32),
            terminated=True,
            truncated=False,
            collected_at_update=0,
        )


def train(algo: Any, num_rounds: int) -> None:
    """Some rounds."""
    for _ in range(num_rounds):
        algo.train()


def save(algo: Any, path: Path, *, before: Path) -> dict[str, Any]:
    """Writes a checkpoint; seconds, and bytes by whether the one before has the file, too."""
    began = time.perf_counter()
    algo.save_to_path(path)
    seconds = time.perf_counter() - began
    earlier = {file.stat().st_ino for file in before.rglob("*")} if before != path else set()
    sizes = {"bytes_written": 0, "bytes_linked": 0}
    for file in path.rglob("*"):
        if file.is_file():
            linked = file.stat().st_ino in earlier
            sizes["bytes_linked" if linked else "bytes_written"] += file.stat().st_size
    pipeline = algo.pipeline
    counts = {"env_steps": pipeline.num_env_steps, "updates": pipeline.num_updates}
    return {**counts, "seconds": round(seconds, 2), **sizes}


def digests(algo: Any) -> dict[str, Any]:
    """What must agree: sha256 of weights, priorities, replay and remembered targets; counters."""
    shard = algo.pipeline.shards.workers[0].target.shard
    replay = shard.replay
    weights = {name: tensor.numpy() for name, tensor in algo.learner_weights().items()}
    return {
        "weights": digest(weights),
        "priorities": digest({"mass": replay.mass}),
        "replay": digest({name: getattr(replay, name) for name in replay.layout.fields()}),
        "remembered targets": digest(shard.cache.get_state()),
        "env steps and updates": [algo.pipeline.num_env_steps, algo.pipeline.num_updates],
    }


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 of names, shapes and contents."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, bool]:
    """Name by name."""
    return {name: ours[name] == theirs[name] for name in ours}


def check_training_changes(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raises RuntimeError if rounds of training left something as it was: nothing was compared."""
    same = [name for name, equal in compared(before, after).items() if equal]
    if same:
        raise RuntimeError(f"training must change what is compared, got the same {same}")


def forget_files(folder: Path) -> None:
    """Drops files from the page cache, so that they are read from the disk."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_new_process(
    args: argparse.Namespace, checkpoint: Path, *, num_rounds: int
) -> dict[str, Any]:
    """What `resume` says in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--resume", str(checkpoint)]
    command += ["--positions", str(args.positions), "--rounds", str(num_rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the resumed run failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def resume(args: argparse.Namespace) -> dict[str, Any]:
    """Goes on from a checkpoint."""
    algo = make_algorithm(args.positions)
    began = time.perf_counter()
    algo.restore_from_path(str(args.resume))
    seconds = time.perf_counter() - began
    loaded = digests(algo)
    train(algo, args.rounds)
    answer = {"load_seconds": round(seconds, 2), "loaded": loaded, "trained": digests(algo)}
    algo.stop()
    return answer


def table(report: dict[str, Any]) -> str:
    """Saves, load, and what was the same, as Markdown."""
    lines = ["| | seconds | GB written | GB linked |", "|---|---|---|---|"]
    new = f"{report['new_frames']:,} new frames later"
    for name, row in zip(("first save", f"second save, {new}"), report["saves"], strict=True):
        sizes = [f"{row[key] / 1e9:.2f}" for key in ("bytes_written", "bytes_linked")]
        lines.append(f"| {name} | {row['seconds']:.1f} | {' | '.join(sizes)} |")
    same = report["same_when_loaded"], report["same_after_training_on"]
    words = ["yes" if all(one.values()) else f"no: {one}" for one in same]
    later = report["saves"][-1]["seconds"]
    machine = report["machine"]
    for place, seconds in report["load_seconds"].items():
        lines.append(f"| load, in a new process, from the {place} | {seconds:.1f} | | |")
    lines += [
        "",
        f"Target: under {TARGET_SECONDS:.0f} s after the first; "
        f"{'kept' if later < TARGET_SECONDS else 'missed'}. The same bits when loaded: {words[0]}; "
        f"after {report['rounds']} more rounds in both processes: {words[1]} "
        f"({', '.join(report['digests'])}).",
        "",
        f"{report['positions']:,} positions of {report['frame_shape']} uint8, "
        f"{report['replay_bytes'] / 1e9:.2f} GB; peak memory "
        f"{report['peak_rss_bytes'] / 1e9:.2f} GB. {machine['processor']}, {machine['cpus']} "
        f"cores, commit {machine['commit']}.",
        "",
        "    python -m benchmarks.checkpoint",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

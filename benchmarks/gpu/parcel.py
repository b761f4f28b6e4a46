"""A run small enough to be carried to a machine and back: its newest checkpoint and its curve.

    python -m benchmarks.gpu.parcel pack RUN_FOLDER OUT_FOLDER
    python -m benchmarks.gpu.parcel unpack OUT_FOLDER RUN_FOLDER
    ez train --resume RUN_FOLDER

Nothing is lost where everything fits. Else the momentum of SGD is rounded to bf16, and where that
is not enough left out (it then starts at zero); `manifest.json` and `pack` say which. Weights,
target networks, replay, priorities, remembered targets, counters and games are exact always. Equal
arrays are kept once (the agent's are the learner's), target networks as what differs from the
learner's weights. TensorBoard files and episode archives stay behind.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.gpu.arrays import LOSSES, Arrays, put_back, taken_out
from rllib_ez.core.agent_card import read_card
from rllib_ez.core.agent_folder import find_agent
from rllib_ez.runs.plan import Plan

FORMAT = 1
MANIFEST = "manifest.json"
PART_BYTES = 15 * 2**20  # a file that comes back from the machine may have 16 MiB
LIMIT_BYTES = 60_000_000  # 64 MiB travel (67.1 MB), 6.6 of them the repository
GROWTH_FROM_STEPS = 1000  # before, what every replay holds hides what a step adds
KEPT = ("config.yaml", "progress.jsonl", "machine.json")


class ParcelError(Exception):
    """A parcel cannot be made, or is not whole."""


def holds_arrays(path: Path) -> bool:
    """Whether a checkpoint's file is one of large arrays: of learner, agent or target network."""
    in_learner = "learner_group" in path.parts and path.name in ("state.pkl", "module_state.pkl")
    return path.suffix == ".pt" or in_learner


def read_tree(path: Path) -> Any:
    """Of a file that `holds_arrays`."""
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    return pickle.loads(path.read_bytes())


def write_tree(path: Path, tree: Any) -> None:
    """The reverse."""
    if path.suffix == ".pt":
        torch.save(tree, path)
    else:
        path.write_bytes(pickle.dumps(tree))


def sections_of(run: Path, checkpoint: Path, *, loss: int) -> dict[str, bytes]:
    """Everything, before it is compressed: files, replay, weights, momentum."""
    arrays, tars = Arrays(loss), {"files": io.BytesIO(), "replay": io.BytesIO()}
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    # The learner's weights first: the others are told by them.
    files.sort(key=lambda path: path.name != "module_state.pkl")
    with (
        tarfile.open(fileobj=tars["files"], mode="w") as small,
        tarfile.open(fileobj=tars["replay"], mode="w") as replay,
    ):
        for path in [*(run / name for name in KEPT if (run / name).exists()), *files]:
            content = path.read_bytes()
            if holds_arrays(path.relative_to(run)):
                tree = read_tree(path)
                content = pickle.dumps(taken_out(tree, arrays))
                if path.name == "module_state.pkl" and isinstance(tree, dict):
                    names = {name.removeprefix("model."): value for name, value in tree.items()}
                    arrays.bases |= {n: v for n, v in names.items() if isinstance(v, np.ndarray)}
            info = tarfile.TarInfo(path.relative_to(run).as_posix())
            info.size = len(content)
            is_replay = any(part.startswith("shard_") for part in path.parts)
            (replay if is_replay else small).addfile(info, io.BytesIO(content))
    return {n: t.getvalue() for n, t in tars.items()} | {
        n: bytes(s) for n, s in arrays.sections.items()
    }


def compressed(
    run: Path, checkpoint: Path, *, limit: int
) -> tuple[int, dict[str, bytes], dict[str, bytes]]:
    """The least loss that fits, an index of LOSSES; the sections, and the same compressed."""
    codec = pa.Codec("zstd", compression_level=9)
    for loss in range(len(LOSSES)):
        sections = sections_of(run, checkpoint, loss=loss)
        packed = {n: codec.compress(section, asbytes=True) for n, section in sections.items()}
        total = sum(map(len, packed.values()))
        if total <= limit:
            return loss, sections, packed
    sizes = ", ".join(f"{name} {len(content):,}" for name, content in packed.items())
    raise ParcelError(f"a parcel must be of at most {limit:,} bytes, got {total:,}: {sizes}")


def pack(run: Path, out: Path, *, limit: int = LIMIT_BYTES) -> dict[str, Any]:
    """Writes a parcel into an empty folder; returns its manifest.

    Raises:
        ParcelError: it is too large even with the most left out.
    """
    checkpoint = find_agent(run).parent
    loss, sections, packed = compressed(run, checkpoint, limit=limit)
    total = sum(map(len, packed.values()))
    card, plan = read_card(checkpoint), Plan.read(run)
    content = b"".join(packed.values())
    parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
    steps, to_come = card.num_env_steps, max(0, plan.env_steps - card.num_env_steps)
    growth = len(packed["replay"]) * to_come // steps if steps >= GROWTH_FROM_STEPS else 0
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "checkpoint": checkpoint.name,
        "env_steps": card.num_env_steps,
        "updates": card.num_updates,
        "lost": LOSSES[loss],
        "bytes": total,
        "bytes_at_the_end": total + growth,  # of the run, if replay goes on to grow as it did
        "least_bytes_at_the_end": total + growth - len(packed["momentum"]),
        "limit": limit,
        "sections": {n: [len(packed[n]), len(sections[n])] for n in sections},
        "parts": {f"part_{i}": hashlib.sha256(part).hexdigest() for i, part in enumerate(parts)},
    }
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("part_*"):
        old.unlink()
    for i, part in enumerate(parts):
        (out / f"part_{i}").write_bytes(part)
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def unpack(out: Path, run: Path) -> dict[str, Any]:
    """Makes a run's folder from a parcel; returns its manifest.

    Raises:
        ParcelError: a part is missing or damaged, there is a run already, or the parcel after the
            next stretch of training could not be made: better told before than after it.
    """
    manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text())
    if manifest["format"] != FORMAT:
        raise ParcelError(f"format must be {FORMAT}, got {manifest['format']}")
    if manifest["least_bytes_at_the_end"] > manifest["limit"]:
        raise ParcelError(
            f"the run's last parcel must be of at most {manifest['limit']:,} bytes, got "
            f"{manifest['least_bytes_at_the_end']:,} (reckoned from {manifest['sections']}); "
            "train fewer env steps"
        )
    if any(run.glob("checkpoint_*")):
        raise ParcelError(f"run folder must hold no checkpoint, got {run}")
    content = b"".join(checked_part(out / name, sha) for name, sha in manifest["parts"].items())
    sections, at = dict[str, bytes](), 0
    for name, (size, raw) in manifest["sections"].items():
        packed = content[at : at + size]
        sections[name] = pa.decompress(packed, raw, codec="zstd", asbytes=True) if raw else b""
        at += size
    run.mkdir(parents=True, exist_ok=True)
    for name in ("files", "replay"):
        with tarfile.open(fileobj=io.BytesIO(sections[name])) as tar:
            tar.extractall(run, filter="data")
    for path in sorted((run / manifest["checkpoint"]).rglob("*")):
        if path.is_file() and holds_arrays(path.relative_to(run)):
            write_tree(path, put_back(pickle.loads(path.read_bytes()), sections))
    return manifest


def checked_part(path: Path, sha: str) -> bytes:
    """Its content."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParcelError(f"a part must be there, got {error}") from error
    if hashlib.sha256(content).hexdigest() != sha:
        raise ParcelError(f"{path} must be as it was packed, got another sha256")
    return content


def main() -> int:
    """Packs or unpacks; 1 if that cannot be done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("verb", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        manifest = (pack if args.verb == "pack" else unpack)(args.source, args.target)
    except ParcelError as error:
        print(f"parcel: {error}", file=sys.stderr)
        return 1
    sizes = ", ".join(f"{n} {size / 1e6:.1f}" for n, (size, _) in manifest["sections"].items())
    print(
        f"parcel at {manifest['env_steps']:,} env steps, {manifest['updates']:,} updates: "
        f"{manifest['bytes'] / 1e6:.1f} MB ({sizes}), lost: {manifest['lost']}; "
        f"at the run's end about {manifest['bytes_at_the_end'] / 1e6:.0f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

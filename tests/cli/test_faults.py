"""What is left, and how a run goes on, when its driver or one of its actors is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.reaper import sessions

from .conftest import TINY, ez_background, trained, wait_for, wait_for_rows

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ENDLESS = [
    *("train", "--env", "cartpole", *TINY, "--env-steps", "1000000", "--checkpoint-every", "40"),
    *("--num-env-runners", "1", "--num-replay-shards", "1"),
]


class Killed(NamedTuple):
    """A run whose driver was killed, and then resumed."""

    folder: Path
    left: list[str]  # hidden entries of the folder when it was resumed
    seconds: float  # until none of Ray's processes was left
    summary: dict[str, Any]


def children(pid: int) -> set[int]:
    """The processes that it started."""
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def in_sessions(leaders: set[int]) -> list[int]:
    return [pid for pid, session in sessions() if session in leaders]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    out = tmp_path_factory.mktemp("killed") / "run"
    with ez_background(*ENDLESS, "--out", str(out)) as process:
        wait_for(lambda: len(list(out.glob("checkpoint_*"))) == 2)
        leaders = children(process.pid)
        assert len(in_sessions(leaders)) > 5
        process.kill()
        start = time.monotonic()
        wait_for(lambda: not in_sessions(leaders))
        seconds = time.monotonic() - start
    shutil.copytree(newest(out), out / f".checkpoint_999999999.draft-{process.pid}")
    newest(out).rename(out / f".{newest(out).name}.old-{process.pid}")
    left = sorted(path.name for path in out.glob(".*"))
    steps = str(int(left[0].split("_")[1].split(".")[0]) + 100)
    return Killed(out, left, seconds, trained("train", "--resume", str(out), "--env-steps", steps))


def newest(run: Path) -> Path:
    return max(run.glob("checkpoint_*"))


def test_no_process_of_ray_outlives_a_killed_driver(killed: Killed):
    assert killed.seconds < 10  # Ray alone takes a minute


def test_a_killed_run_goes_on_from_its_last_checkpoint(killed: Killed):
    summary = killed.summary
    assert summary["finished"]
    assert summary["updates"] == summary["env_steps"] // 4
    rows = [
        json.loads(line) for line in (killed.folder / "progress.jsonl").read_text().splitlines()
    ]
    steps = [row["env_steps"] for row in rows]
    assert steps == sorted(steps)


def test_what_a_killed_save_left_is_cleared(killed: Killed):
    assert len(killed.left) == 2
    assert list(killed.folder.glob(".*")) == []


def test_a_lost_replay_shard_ends_the_run_and_says_how_to_go_on(tmp_path: Path):
    out = tmp_path / "run"
    with ez_background(*ENDLESS, "--out", str(out)) as process:
        wait_for_rows(out, at_least=4)
        wait_for(lambda: any(out.glob("checkpoint_*")))
        everything = in_sessions(children(process.pid))
        (shard,) = [pid for pid in everything if "ReplayWorker" in title(pid)]
        os.kill(shard, signal.SIGKILL)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 6, stderr
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("error: replay shard 0 must stay alive")
    assert f"ez train --resume {out}" in last


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()

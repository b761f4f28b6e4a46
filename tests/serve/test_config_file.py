"""The file that `ez serve --config` writes, deployed as a cluster's owner would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cli.serve_order import ServeOrder, write_config
from serve.environment import free_ports
from tests.serve.test_deployment import is_ready, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
BIN = Path(sys.executable).parent


def written_config(folder: Path, agent: Path, port: int) -> Path:
    order = ServeOrder.of(
        agents=[f"{agent}=vector"],
        follow=[],
        host="127.0.0.1",
        port=port,
        replicas="1",
        gpu=False,
        is_open=False,
        settings={"max_batch": 8},
        extra=[],
    )
    write_config(order, folder / "serve.yaml")
    return folder / "serve.yaml"


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """The environment of commands for a cluster on this machine, with its dashboard."""
    gcs, dashboard = free_ports(2)
    environ = {
        **os.environ,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    subprocess.run([BIN / "ray", "get-auth-token", "--generate"], env=environ, check=True)
    with tempfile.TemporaryDirectory(prefix="ezc-", dir="/tmp") as folder:
        start = [BIN / "ray", "start", "--head", "--num-cpus", "4", f"--port={gcs}"]
        start += [f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
        subprocess.run(start, env=environ, check=True, stdout=subprocess.DEVNULL)
        try:
            yield environ
        finally:
            end_processes(folder)


def end_processes(folder: str) -> None:
    """Kills what names the cluster's folder, and what that has started."""
    found = [p for p in psutil.process_iter() if folder in " ".join(command_of(p))]
    for process in [*found, *(child for p in found for child in children_of(p))]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue


def command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def deploy(path: Path, environ: dict[str, str]) -> None:
    subprocess.run([BIN / "serve", "deploy", path], env=environ, check=True, timeout=60)


def version(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"{url}/v1/models/vector", timeout=10) as reply:
        model: dict[str, Any] = json.load(reply)
    return model["version"], model["checkpoint"]["path"]


def replicas() -> set[int]:
    return {p.pid for p in psutil.process_iter() if "ActionService" in " ".join(command_of(p))}


def test_a_changed_file_swaps_the_model_and_keeps_the_replica(
    cluster: dict[str, str], vector_agent: Path, tmp_path: Path
):
    (port,) = free_ports(1)
    url, path = f"http://127.0.0.1:{port}", written_config(tmp_path, vector_agent, port)
    deploy(path, cluster)
    wait_until(lambda: is_ready(url), seconds=90)
    before = replicas()
    assert version(url) == (1, str(vector_agent))
    newer = tmp_path / "newer"
    shutil.copytree(vector_agent, newer)
    text = yaml.safe_load(path.read_text())
    models = text["applications"][0]["deployments"][0]["user_config"]["models"]
    models["vector"]["checkpoint"] = str(newer)
    path.write_text(yaml.safe_dump(text))
    deploy(path, cluster)
    wait_until(lambda: version(url) == (2, str(newer)), seconds=60)
    assert replicas() == before

"""`ez train --address`, and the examples of docs/cluster.md."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from cli.resources import Resources, actor_resources, check_enough, check_port, total
from rllib_ez.errors import SettingError
from rllib_ez.runs.plan import Plan, make_plan

from .conftest import ROOT, TINY, ez, ez_process

DOCUMENT = (ROOT / "docs" / "cluster.md").read_text()
CLUSTER, JOB = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.S))
SCHEMA = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
# Two nodes of two CPUs each; ends with its stdin.
NODES = """
import sys, warnings
warnings.simplefilter("ignore")
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
cluster.add_node(num_cpus=2)
print(cluster.address, flush=True)
sys.stdin.readline()
import ray

ray.init(address=cluster.address, log_to_driver=False)
print(ray.available_resources()["CPU"], flush=True)
cluster.shutdown()
"""


def plan_of(command: str) -> Plan:
    """What the last `ez train` of a command would train."""
    words = shlex.split(command.split("ez train")[-1].replace("\\\n", " "))
    pairs = list(zip(words[::2], words[1::2], strict=True))
    given = {name[2:].replace("-", "_"): value for name, value in pairs if name != "--set"}
    options = {name: int(value) for name, value in given.items() if name.startswith("num_")}
    assignments = [value for name, value in pairs if name == "--set"]
    return make_plan(
        env=None,
        game=given["game"],
        preset=[given["preset"]],
        assignments=assignments,
        options=options,
    )[0]


@pytest.fixture(scope="module")
def needed() -> list[Resources]:
    command = JOB["spec"]["entrypoint"].removesuffix("'").replace(" $run", "")
    return actor_resources(plan_of(command).config())


def test_the_cluster_file_is_one_for_ray_up(needed: list[Resources]):
    jsonschema.validate(CLUSTER, json.loads(SCHEMA.read_text()))
    kinds = CLUSTER["available_node_types"]
    assert CLUSTER["head_node_type"] in kinds
    assert CLUSTER["max_workers"] == sum(kind.get("max_workers", 0) for kind in kinds.values())


def test_the_nodes_of_the_cluster_file_hold_the_run(needed: list[Resources]):
    kinds = CLUSTER["available_node_types"].values()
    nodes = [kind["resources"] for kind in kinds for _ in range(kind.get("min_workers", 1))]
    check_enough(needed, nodes, "the cluster has")


def pods() -> list[tuple[int, dict[str, Any]]]:
    """How many of each kind of pod, and what they are made of."""
    cluster = JOB["spec"]["rayClusterSpec"]
    groups = cluster["workerGroupSpecs"]
    found = [(1, cluster["headGroupSpec"]), *((group["minReplicas"], group) for group in groups)]
    return [(count, group["template"]["spec"]) for count, group in found]


def test_the_pods_of_the_job_hold_the_run(needed: list[Resources]):
    nodes = []
    for count, pod in pods():
        limits = pod["containers"][0]["resources"]["limits"]
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}
        nodes += [node] * count
    assert total(needed, "CPU") == 18
    check_enough(needed, nodes, "the cluster has")


def test_every_pod_sees_the_runs_folder_and_has_one_image():
    images = set()
    for _, pod in pods():
        (container,) = pod["containers"]
        images.add(container["image"])
        assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert len(images) == 1


def test_the_ray_of_the_examples_is_ours():
    assert JOB["spec"]["rayClusterSpec"]["rayVersion"] in DOCUMENT.split("FROM rayproject/ray:")[1]
    assert JOB["spec"]["rayClusterSpec"]["rayVersion"].rpartition(".")[0] == "2.60"


@pytest.mark.parametrize(
    ("actors", "nodes", "text"),
    [
        ([{"CPU": 1}] * 5, [{"CPU": 2}, {"CPU": 2}], "needs 5 CPUs where the cluster has 4"),
        ([{"GPU": 0.5}] * 3, [{"CPU": 9, "GPU": 1}], "needs 1.5 GPUs where the cluster has 1"),
        ([{"GPU": 2}], [{"GPU": 1}] * 2, "2 GPUs in one actor, where the largest node has 1"),
        ([{"CPU": 1}], [], "needs 1 CPUs where the cluster has 0"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_with_both_numbers(
    actors: list[Resources], nodes: list[Resources], text: str
):
    with pytest.raises(SettingError, match=text):
        check_enough(actors, nodes, "the cluster has")


def test_a_run_that_fits_just_so_is_taken():
    check_enough([{"CPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}], [{"CPU": 2.0, "GPU": 0.5}], "it has")


@pytest.mark.parametrize("address", ["cluster", "ray://head:10001", ":6379", "head:port"])
def test_an_address_has_a_host_and_a_port(address: str):
    with pytest.raises(SettingError, match="auto or host:port"):
        check_port(address)


def test_a_port_where_nothing_listens_is_refused_and_nothing_stays(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    out = ["--out", str(tmp_path / "run")]
    result = ez("train", "--env", "cartpole", "--address", address, *out)
    text = f"error: address must be of a Ray cluster that is up, got '{address}': [Errno 111]"
    assert (result.exit_code, text in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_port_where_no_cluster_answers_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli.resources.ANSWER_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        out = ["--out", str(tmp_path / "run")]
        result = ez("train", "--env", "cartpole", "--address", address, *out)
    assert (result.exit_code, "no answer within 3 s" in result.stderr) == (2, True)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_is_trained_on_and_stays_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    order = ["train", "--env", "cartpole", *TINY, "--env-steps", "200", "--out", str(tmp_path)]
    pipe, command = subprocess.PIPE, [sys.executable, "-c", NODES]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as nodes:
        address = nodes.stdout.readline().strip()
        refused = ez_process(*order, "--address", address, "--num-env-runners", "5")
        monkeypatch.setenv("RAY_ADDRESS", address)
        shards = ["--num-env-runners", "1", "--num-replay-shards", "2"]
        done = ez_process(*order, "--address", "auto", *shards)
        free = nodes.communicate("\n")[0]
    assert (refused.returncode, "needs 5 CPUs where the cluster has 4" in refused.stderr) == (
        2,
        True,
    )
    assert (done.returncode, float(free)) == (0, 4.0), done.stderr
    assert (tmp_path / "checkpoint_000000000").is_dir()

"""What a run needs of machines, and whether it is there: told before any actor waits in vain."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.errors import SettingError

CONNECT_SECONDS = 5.0  # for a port to open
ANSWER_SECONDS = 20.0  # for a cluster to say that it is well
Resources = dict[str, float]  # "CPU" and "GPU" among others


@contextmanager
def ray_for(config: EfficientZeroConfig, address: str | None) -> Iterator[None]:
    """Ray for a run: a private one, or the cluster at an address, with all that it needs.

    Raises:
        SettingError: the address is not answered, or there is less than the run needs.
    """
    from cli.quiet_ray import joined_ray, local_ray, quietly_imported_ray

    ray = quietly_imported_ray()
    check_driver_gpus(config)
    actors = actor_resources(config)
    if address is None:
        # CPUs may be promised more often than there are: actors then take turns.
        num_cpus = math.ceil(total(actors, "CPU")) + 1
        check_enough(actors, [{"CPU": num_cpus, "GPU": num_gpus_here()}], "this machine has")
        with local_ray(num_cpus=num_cpus):
            yield
        return
    check_address(address)
    with joined_ray(address):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        check_enough(actors, nodes, "the cluster has")
        yield


def actor_resources(config: EfficientZeroConfig) -> list[Resources]:
    """What Ray is to reserve for each actor of a run."""
    bundles = EfficientZero.default_resource_request(config.to_dict()).bundles
    return list(bundles[1:])  # the first is the driver's, which Ray does not place


def check_enough(actors: list[Resources], nodes: list[Resources], who_has: str) -> None:
    """Raises SettingError, with both numbers, if there is less than the actors need."""
    for name in ("CPU", "GPU"):
        for need, have, whose in (
            (total(actors, name), total(nodes, name), f"where {who_has}"),
            (most(actors, name), most(nodes, name), "in one actor, where the largest node has"),
        ):
            if need > have:
                raise SettingError(
                    f"a run must fit into what is there, got one that needs {need:g} {name}s "
                    f"{whose} {have:g}: ask for fewer actors, or for less of each (num_*, "
                    "num_cpus_per_*, num_gpus_per_*)"
                )


def total(resources: list[Resources], name: str) -> float:
    """All of one kind."""
    return sum(one.get(name, 0) for one in resources)


def most(resources: list[Resources], name: str) -> float:
    """The largest of one kind."""
    return max((one.get(name, 0) for one in resources), default=0)


def check_driver_gpus(config: EfficientZeroConfig) -> None:
    """Raises SettingError if the learner in this process wants a GPU that is not here."""
    wanted, here = config.num_gpus_per_learner, num_gpus_here()
    if config.num_learners == 0 and wanted > here:
        raise SettingError(
            f"num_gpus_per_learner must be at most the {here} GPUs of this machine, where the "
            f"learner is without --num-learners, got {wanted:g}"
        )


def num_gpus_here() -> int:
    """What torch finds."""
    import torch

    return torch.cuda.device_count()


def check_address(address: str) -> None:
    """Raises SettingError unless a Ray cluster answers at "auto" or host:port."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    if address != "auto":
        check_port(address)
        command += ["--address", address]
    env = {**os.environ, "RAY_LOG_TO_STDERR": "0"}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise no_answer(address, f"no answer within {ANSWER_SECONDS:.0f} s") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise no_answer(address, lines[-1] if lines else f"exit {done.returncode}")


def check_port(address: str) -> None:
    """Raises SettingError unless something listens at host:port."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise SettingError(
            f"address must be auto or host:port (of the head node's GCS, usually 6379), got "
            f"{address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise no_answer(address, str(error)) from error


def no_answer(address: str, reason: str) -> SettingError:
    """What to say of an address where no cluster is."""
    return SettingError(
        f"address must be of a Ray cluster that is up, got {address!r}: {reason}; leave it out to "
        "train on this machine alone"
    )

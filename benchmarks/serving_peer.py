"""A peer of our service in a process of its own, until SIGTERM.

    python -m benchmarks.serving_peer rllib --checkpoint DIR --port 9000 --threads 1
    python -m benchmarks.serving_peer batch --checkpoint DIR --port 9000 --threads 1

`rllib`: RLlib's own example for Ray Serve, unchanged, on Serve's default settings. It restores
the RLModule, answers one observation at a time, and does not search.
`rllib256`: the same with max_ongoing_requests=256 instead of Serve's 5.
`batch`: our service, started as `ez serve` starts it, with `@serve.batch` for a batcher.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.quiet_ray import local_ray, quieten_ray, quietly_imported_ray, short_temp_folder
from rllib_ez.core.agent_folder import find_agent
from serve.environment import speed_environment
from serve.settings import ServiceSettings

HOST, ROUTE = "127.0.0.1", "/rllib-rlmodule"


def main() -> None:
    """Starts it, and stops it at the signal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=("rllib", "rllib256", "batch"))
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--name", default="agent", help="of the model; batch")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-folder", default=None, help="batch")
    args = parser.parse_args()
    stop = threading.Event()
    with started(args):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()


@contextmanager
def started(args: argparse.Namespace) -> Iterator[None]:
    """While entered, the peer runs."""
    with tempfile.TemporaryDirectory(prefix="ez-peer-", dir=short_temp_folder()) as folder:
        if args.kind == "batch":
            most = ServiceSettings().max_body_bytes
            os.environ.update(
                speed_environment(
                    host=HOST, port=args.port, folder=Path(folder), max_body_bytes=most
                )
            )
        os.environ["OMP_NUM_THREADS"] = str(args.threads)  # inherited by the replica
        quietly_imported_ray()
        with local_ray(num_cpus=2):
            from ray import serve

            quieten_ray()
            serve.start(http_options={"host": HOST, "port": args.port})
            deploy(args)
            yield
            serve.shutdown()


def deploy(args: argparse.Namespace) -> None:
    """Runs the application."""
    from ray import serve

    if args.kind != "batch":
        from ray.rllib.examples.ray_serve.classes.cartpole_deployment import ServeRLlibRLModule

        options = {"max_ongoing_requests": 256} if args.kind == "rllib256" else {}
        example = ServeRLlibRLModule.options(**options)
        serve.run(
            example.bind(str(rl_module_of(args.checkpoint))), name="rllib", route_prefix=ROUTE
        )
        return
    from benchmarks.serving_deployments import batched_application

    models = {args.name: {"checkpoint": str(args.checkpoint.absolute())}}
    settings = {"threads": args.threads, "log_folder": args.log_folder}
    application = batched_application({**settings, "models": models})
    serve.run(application, name="batch", route_prefix="/")


def rl_module_of(checkpoint: Path) -> Path:
    """Where RLlib keeps the module's weights, in a checkpoint or a run's newest."""
    folder = find_agent(checkpoint).parent.absolute()
    return folder / "learner_group" / "learner" / "rl_module" / "default_policy"


if __name__ == "__main__":
    sys.exit(main())

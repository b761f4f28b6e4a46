"""The service of `ez serve` while it is up."""

from __future__ import annotations

import json
import math
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from cli.quiet_ray import local_ray, quieten_ray, quietly_imported_ray, short_temp_folder
from cli.serve_order import ServeOrder
from cli.stopping import StopRequest
from rllib_ez.errors import SettingError
from serve.bodies import JSON, RAW

READY_SECONDS = 180.0
POLL_SECONDS = 0.1


def check_port(host: str, port: int) -> None:
    """Raises SettingError where something listens already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise SettingError(
                f"port must be free, got {port}: {error.strerror}; try --port {port + 1}"
            ) from error


def run(order: ServeOrder) -> int:
    """Serves until Ctrl-C or SIGTERM; the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    check_port(order.host, order.port)
    with console.status("starting Ray Serve") as status:
        # Ray catches SIGTERM when it starts: ours comes after it.
        with started(order) as end, StopRequest() as stop:
            wait_until_ready(order, stop, tell=status.update)
            if stop.signal is None:
                status.stop()
                tell(order, console)
            while stop.signal is None:
                time.sleep(POLL_SECONDS)
            status.start()
            status.update("answering what waits, then stopping")
            end()
    console.print("stopped")
    return stop.exit_code


@contextmanager
def started(order: ServeOrder) -> Iterator[Callable[[], None]]:
    """Ray, Serve and the application; yields what ends the application in good order."""
    from serve.environment import speed_environment

    with tempfile.TemporaryDirectory(prefix="ez-serve-", dir=short_temp_folder()) as folder:
        variables = speed_environment(
            host=order.host,
            port=order.port,
            folder=Path(folder),
            max_body_bytes=order.settings.max_body_bytes,
        )
        os.environ.update(variables)
        quietly_imported_ray()
        most = order.args.get("autoscaling", [0, order.args.get("num_replicas", 1)])[1]
        with local_ray(num_cpus=most + 1):
            from ray import serve

            from serve.deployment import APP, build

            quieten_ray()
            serve.start(http_options={"host": order.host, "port": order.port})
            application = build({**order.args, "models": order.models})
            serve.run(application, name=APP, route_prefix="/", blocking=False)
            yield partial(serve.delete, APP)


def wait_until_ready(order: ServeOrder, stop: StopRequest, *, tell: Callable[[str], None]) -> None:
    """Waits for /readyz.

    Raises:
        SettingError: it did not come up; the text says what it said last.
    """
    end, said = time.monotonic() + READY_SECONDS, "nothing"
    while time.monotonic() < end and stop.signal is None:
        try:
            with urllib.request.urlopen(f"{url_of(order)}/readyz", timeout=5):
                return
        except OSError as error:
            body = error.read() if hasattr(error, "read") else b""
            said = readable(body) or str(error)
            tell(f"loading: {said}"[:200])
        time.sleep(POLL_SECONDS)
    if stop.signal is None:
        raise SettingError(f"the service must be ready within {READY_SECONDS:.0f} s, got: {said}")


def readable(body: bytes) -> str:
    """The message of an error in the service's schema."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def url_of(order: ServeOrder) -> str:
    """Where this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(order.host, order.host)
    return f"http://[{host}]:{order.port}" if ":" in host else f"http://{host}:{order.port}"


def tell(order: ServeOrder, console: Console) -> None:
    """The address, a request to try, and how to stop."""
    url = url_of(order)
    name, card = next(iter(order.cards.items()))
    console.print(f"[bold]{url}[/] serves {', '.join(order.cards)}; its API: {url}/docs")
    token = ' -H "Authorization: Bearer $TOKEN"' if order.args.get("token_file") else ""
    shape = (card.model.frame_stack, *card.model.frame_shape)
    if card.model.network == "vector":
        zeros = np.zeros(shape if shape[0] > 1 else shape[1:]).tolist()
        body = json.dumps({"observation": zeros}, separators=(",", ":"))
        sent = f"curl {url}/v1/models/{name}/act{token} -H 'Content-Type: {JSON}' -d '{body}'"
    else:
        sent = f"head -c {math.prod(shape)} /dev/zero | curl {url}/v1/models/{name}/act{token}"
        sent += f" -H 'Content-Type: {RAW}' --data-binary @-"
    console.print(f"  {sent}", markup=False)
    console.print(f"  ez evaluate --url {url} --model {name}; ez loadtest {url}", markup=False)
    console.print("stop with Ctrl-C: what waits is answered first")

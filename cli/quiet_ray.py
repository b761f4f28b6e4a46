"""A Ray of our own for one run, or a place in a cluster that is there; nothing of its chatter.

Token authentication, on by default in Ray, stays on: the cluster listens on this machine's
network, and only whoever can read ~/.ray/auth_token may use it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from rllib_ez.errors import SettingError

LONGEST_TEMP_PATH = 30  # sockets below it must stay under 104 characters


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """Starts Ray on this machine, apart from any cluster that is there; stops it at the end.

    A signal to this process and its group does not reach Ray: it stays up until the run is saved.

    Args:
        num_cpus: what Ray may promise to actors; more than there are is fine.
    """
    ray = quietly_imported_ray()
    folder = tempfile.mkdtemp(prefix="ez-ray-", dir=short_temp_folder())
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if sys.platform == "linux":
            tell = stack.enter_context(reaper(folder))
            starting = own_sessions(tell)
        else:
            starting = ExitStack()
        stack.callback(ray.shutdown)
        with starting:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                _temp_dir=folder,
            )
        quieten_ray()
        yield


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Joins a cluster that is up, and leaves it up.

    Args:
        address: one that `check_address` found to be answered.

    Raises:
        SettingError: the cluster does not take this program.
    """
    ray = quietly_imported_ray()
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingError(
            f"address must be of a cluster that this program can join, got {address!r}: {error}"
        ) from error
    quieten_ray()
    try:
        yield
    finally:
        ray.shutdown()


def quietly_imported_ray() -> Any:
    """The module, told to be quiet before it is loaded."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import ray

    quieten_ray()
    return ray


def quieten_ray() -> None:
    """Lets only errors of Ray and RLlib through."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("ray."):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def reaper(folder: str) -> Iterator[Callable[[int], None]]:
    """While entered, somebody clears up if this process is killed; see `reaper.py`.

    Yields:
        Tells it of a process that leads a session.
    """
    script = Path(__file__).with_name("reaper.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    pipe = process.stdin.fileno()

    def tell(pid: int) -> None:
        with suppress(BrokenPipeError):  # a kernel without pidfd: Ray alone clears up, slowly
            os.write(pipe, b"%d\n" % pid)

    try:
        yield tell
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)


@contextmanager
def own_sessions(tell: Callable[[int], None]) -> Iterator[None]:
    """While entered, every process that is started leads a session of its own, and is told of.

    Ray has no setting for it, and what it starts must outlive a SIGTERM to this process's group.
    """
    start = subprocess.Popen.__init__

    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **{"start_new_session": True, **kwargs})
        tell(self.pid)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]
    try:
        yield
    finally:
        subprocess.Popen.__init__ = start  # type: ignore[method-assign]


def short_temp_folder() -> Path:
    """Where Ray's sockets may lie: paths of sockets must be short."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST_TEMP_PATH else Path("/tmp")

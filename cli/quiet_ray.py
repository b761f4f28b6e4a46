"""A Ray of our own for one run, and nothing of its chatter.

Token authentication, on by default in Ray, stays on: the cluster listens on this machine's
network, and only whoever can read ~/.ray/auth_token may use it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_TEMP_PATH = 30  # sockets below it must stay under 104 characters


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """Starts Ray on this machine, apart from any cluster that is there; stops it at the end.

    Args:
        num_cpus: what Ray may promise to actors; more than there are is fine.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import ray

    quieten_ray()
    folder = tempfile.mkdtemp(prefix="ez-ray-", dir=short_temp_folder())
    try:
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
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def quieten_ray() -> None:
    """Lets only errors of Ray and RLlib through."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("ray."):
            logging.getLogger(name).setLevel(logging.ERROR)


def short_temp_folder() -> Path:
    """Where Ray's sockets may lie: paths of sockets must be short."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST_TEMP_PATH else Path("/tmp")


def drop_result_folder(algo: Any) -> None:
    """Removes the folder in ~/ray_results that Tune makes for every algorithm, if it is empty."""
    with suppress(OSError):
        os.rmdir(algo.logdir)

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]
# Its whole group gets the signals, as from a terminal or from Slurm; then Ray is asked something.
SCRIPT = """
import os, signal, sys, time
from cli.quiet_ray import local_ray

with local_ray(1):
    import ray

    class Counter:
        count = 0

        def add(self):
            self.count += 1
            return self.count

    counter = ray.remote(Counter).remote()
    ray.get(counter.add.remote())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
        os.killpg(0, number)
    time.sleep(3)
    task = ray.remote(lambda: "new")
    print(ray.get([counter.add.remote(), task.remote()], timeout=30))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sessions are used on Linux")
def test_signals_to_the_drivers_group_do_not_reach_ray():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (0, "[2, 'new']\n"), done.stderr

"""Sessions without Ray: what stays when a driver is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.reaper import sessions

from .conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and pidfd")
# Starts a process with a child, both deaf to SIGTERM, and one that ends at once.
DRIVER = """
import subprocess, sys, time
from cli.quiet_ray import own_sessions, reaper

DEAF = "trap '' TERM; sleep 60 & wait"
with reaper(sys.argv[1]) as tell:
    with own_sessions(tell):
        short = subprocess.Popen(["true"])
        daemon = subprocess.Popen(["sh", "-c", DEAF], stdout=subprocess.DEVNULL)
    short.wait()
    print(daemon.pid, short.pid, flush=True)
    sys.stdin.readline()
    daemon.kill()
"""


@pytest.fixture
def driver(tmp_path: Path):
    folder = tmp_path / "ray"
    folder.mkdir()
    command = [sys.executable, "-c", DRIVER, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def wait_until_gone(session: int, *paths: Path) -> None:
    end = time.monotonic() + 10
    while session in {one for _, one in sessions()} or any(path.exists() for path in paths):
        assert time.monotonic() < end, f"session {session} or {paths} is still there"
        time.sleep(0.05)


def test_a_daemon_leads_a_session_of_its_own(driver: subprocess.Popen[str]):
    daemon = int(driver.stdout.readline().split()[0])
    assert (daemon, daemon) in sessions()


def test_nothing_stays_of_a_killed_driver(driver: subprocess.Popen[str], tmp_path: Path):
    daemon = int(driver.stdout.readline().split()[0])
    driver.kill()
    wait_until_gone(daemon, tmp_path / "ray")


def test_nothing_stays_of_a_driver_that_ended(driver: subprocess.Popen[str], tmp_path: Path):
    daemon = int(driver.stdout.readline().split()[0])
    driver.communicate("end\n")
    assert driver.returncode == 0
    wait_until_gone(daemon, tmp_path / "ray")


def test_a_leader_that_ends_while_another_is_told_of_is_not_the_drivers_end(tmp_path: Path):
    folder = tmp_path / "ray"
    folder.mkdir()
    command = [sys.executable, "-I", "-S", str(ROOT / "cli" / "reaper.py"), str(folder)]
    short = subprocess.Popen(["true"], start_new_session=True)
    os.waitid(os.P_PID, short.pid, os.WEXITED | os.WNOWAIT)  # a zombie: found, and ended
    with (
        subprocess.Popen(["sleep", "60"], start_new_session=True) as daemon,
        subprocess.Popen(command, stdin=subprocess.PIPE) as process,
    ):
        os.write(process.stdin.fileno(), b"%d\n" % short.pid)
        time.sleep(0.5)  # it waits for a second whether the driver has gone as well
        os.write(process.stdin.fileno(), b"%d\n" % daemon.pid)
        time.sleep(0.5)
        assert process.poll() is None
        assert daemon.poll() is None
        assert folder.exists()
        process.stdin.close()
        assert daemon.wait(timeout=10) == -signal.SIGKILL
    short.wait()
    assert not folder.exists()


def test_a_session_whose_leader_ended_by_itself_is_left_alone(tmp_path: Path):
    folder = tmp_path / "ray"
    folder.mkdir()
    script = """
import subprocess, sys, time
from cli.quiet_ray import own_sessions, reaper

with reaper(sys.argv[1]) as tell, own_sessions(tell):
    command = ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!; sleep 0.5"]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE)
    child = leader.communicate()[0].decode()
    time.sleep(1.5)
    print(leader.pid, child, flush=True)
"""
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    leader, child = (int(number) for number in done.stdout.split())
    assert (child, leader) in sessions()
    assert not folder.exists()
    os.kill(child, signal.SIGKILL)

from __future__ import annotations

import signal
import time

import pytest

from cli.stopping import StopRequest
from rllib_ez.runs.stop import Stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_is_remembered(number: signal.Signals, code: int):
    with StopRequest() as stop:
        signal.raise_signal(number)
    assert (stop.signal, stop.exit_code) == (number, code)


def test_a_deadline_is_a_wish_that_ends_well():
    now = time.monotonic()
    assert not StopRequest(deadline=now + 60).is_wanted
    stop = StopRequest(deadline=now)
    assert (stop.is_wanted, stop.exit_code) == (True, 0)
    with pytest.raises(Stopped):
        stop.check()


def test_a_second_ctrl_c_stops_at_once():
    with StopRequest():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_signals_work_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        pass
    assert signal.getsignal(signal.SIGTERM) is before

from __future__ import annotations

import io

from rich.console import Console

from cli.progress import LineView, LiveView, make_view
from rllib_ez.runs.status import Status


def test_a_terminal_gets_a_table():
    status = Status("CartPole-v1 seed 0", 2000, losses={"total": 1.25})
    stream = io.StringIO()
    with make_view(Console(file=stream, force_terminal=True, width=100), status) as view:
        view.show(now=True)
    assert isinstance(view, LiveView)
    assert "last evaluation" in stream.getvalue()
    assert "total 1.25" in stream.getvalue()


def test_a_log_gets_lines_and_not_too_many():
    stream = io.StringIO()
    with make_view(Console(file=stream, width=200), Status("x", 2000)) as view:
        for _ in range(100):
            view.show()
        view.show(now=True)
    assert isinstance(view, LineView)
    assert len(stream.getvalue().splitlines()) == 1

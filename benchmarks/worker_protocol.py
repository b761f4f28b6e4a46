"""The line protocol of ../shared/peers/worker_common.py, for when that folder is not there.

A worker reads one JSON object a line on stdin (hello, prepare, run, info, clear, quit) and answers
each with one line on stdout. `Worker.prepare(case)` gives (run, info), or a text that says why it
skips the case; `run.net_only`, where there is one, is the network's part alone.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

# Whatever packages print goes to stderr: stdout belongs to the protocol.
_ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

DISCOUNT = 0.997
WARM_UP_SECONDS = 0.3

Slots = dict[int, tuple[Callable[[], object], Callable[[], Any]]]


class Worker(Protocol):
    """What a project says and can do."""

    def hello(self) -> dict[str, Any]:
        """Name, versions, threads."""
        ...

    def prepare(self, case: dict[str, Any]) -> Any:
        """(run, info) of a case, or why not."""
        ...


def serve(worker: Worker) -> None:
    """Answers until told to quit."""
    slots: Slots = {}
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "quit":
            break
        try:
            answer = _answer(worker, slots, message)
        except Exception as error:  # tell it and serve on
            traceback.print_exc()
            answer = {"skip": f"{type(error).__name__}: {error}"[:300]}
        _ANSWERS.write(json.dumps(answer) + "\n")


def _answer(worker: Worker, slots: Slots, message: dict[str, Any]) -> dict[str, Any]:
    match message["cmd"]:
        case "hello":
            return worker.hello()
        case "prepare":
            return _prepare(worker, slots, message)
        case "run":
            return _run(slots[message["slot"]][0], message.get("min_s", 0.2))
        case "info":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            return {"info": slots[message["slot"]][1](), "peak_rss_mib": peak}
        case "clear":
            slots.clear()
            return {"ok": True}
        case unknown:
            return {"error": f"unknown cmd {unknown!r}"}


def _prepare(worker: Worker, slots: Slots, message: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    made = worker.prepare(message["case"])
    if isinstance(made, str):
        return {"skip": made}
    slots[message["slot"]] = made
    made[0]()
    first = time.perf_counter() - began
    end, calls = time.perf_counter() + WARM_UP_SECONDS, 0
    while calls < 2 or time.perf_counter() < end:
        made[0]()
        calls += 1
    return {"ok": True, "first_call_s": round(first, 3)}


def _run(run: Callable[[], object], min_seconds: float) -> dict[str, Any]:
    calls, cpu, began = 0, time.process_time(), time.perf_counter()
    while calls == 0 or time.perf_counter() - began < min_seconds:
        run()
        calls += 1
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    network = 0.0
    alone: Callable[[], object] | None = getattr(run, "net_only", None)
    if alone is not None:
        began = time.perf_counter()
        for _ in range(calls):
            alone()
        network = time.perf_counter() - began
    whole = time.process_time() - cpu
    return {"n": calls, "s": wall, "cpu": used, "cpu_all": whole, "net_s": network}

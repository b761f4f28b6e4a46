"""`ez tune` at work: says what it will do, does it, says what came of it."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

import ray
from rich.console import Console

from cli.quiet_ray import joined_ray, local_ray, quietly_imported_ray
from cli.resources import check_address
from cli.stopping import StopRequest
from cli.sweep_view import make_sweep_view
from cli.tune_order import Call
from rllib_ez.core.cores import usable_cores
from rllib_ez.runs.status import clock_time, size
from tuning.pace import Pace, measured_pace, pace_of, total_seconds
from tuning.room import Share, room_here, room_of, share_of
from tuning.sweep import Options, Remains, num_left, remains_of, run_sweep
from tuning.trackers import trackers_of
from tuning.watching import CUT, FAILED, FINISHED, SweepStatus, SweepView


def carry_out(call: Call, console: Console, *, as_json: bool) -> int:
    """Runs what is left; returns the exit code."""
    remains = remains_of(call.uri, call.order)
    announce(call, remains, console)
    left = num_left(call.order, remains)
    with ExitStack() as stack:
        status, stop = None, StopRequest()
        if left:
            trackers = trackers_of(call.trackers, sweep=call.uri)
            share = with_ray(call, left, stack)
            pace = pace_for(call, remains, share, console)
            tell_plan(call, remains, share, pace, console)
            if call.is_dry_run:
                return 0
            stack.enter_context(stop)

            def watch(status: SweepStatus) -> SweepView:
                view = make_sweep_view(console, status)
                stack.enter_context(view)
                return view

            options = Options(
                max_failures=call.max_failures,
                grace_seconds=call.grace_seconds,
                keeps_replay=call.keeps_replay,
                callbacks=trackers,
            )
            status = run_sweep(
                call.uri, call.order, remains,
                suite=call.suite, share=share, options=options, stop=stop, watch=watch,
            )  # fmt: skip
    code = conclude(call, remains, status, console, as_json=as_json)
    return stop.exit_code if stop.is_wanted else code


def announce(call: Call, remains: Remains, console: Console) -> None:
    """Says what was asked, and what of it is there."""
    order = call.order
    seeds = f"{len(order.seeds)} seed{'s' if len(order.seeds) > 1 else ''}"
    names = f"{len(order.games)} games" if len(order.games) > 3 else ", ".join(order.games)
    recipes = {" + ".join(plan.presets) or "defaults" for plan in order.plans.values()}
    searched = f", searching {', '.join(order.space.dimensions)}" if order.space else ""
    console.print(
        f"[bold]{names}[/] x {seeds}, settings {' | '.join(sorted(recipes))}{searched}, "
        f"into {call.uri}",
        soft_wrap=True,
    )
    for note in call.notes:
        console.print(note, soft_wrap=True)
    if remains.runs:
        finished = sum(run.is_finished for run in remains.runs.values())
        stopped = sum(run.is_stopped and not run.is_finished for run in remains.runs.values())
        early = f", {stopped} stopped early" if stopped else ""
        console.print(
            f"the folder holds {finished} finished trials{early}; {len(remains.broken)} go on from "
            f"their checkpoints, {num_left(order, remains) - len(remains.broken)} begin",
            soft_wrap=True,
        )


def with_ray(call: Call, num_trials: int, stack: ExitStack) -> Share:
    """Ray, and what each trial gets; refused before anything starts where one does not fit."""
    plans = list(call.order.plans.values())
    quietly_imported_ray()
    if call.address is None:
        share = share_of(room_here(), plans, num_trials, **call.room)
        stack.enter_context(local_ray(num_cpus=usable_cores()))
        return share
    check_address(call.address)
    stack.enter_context(joined_ray(call.address))
    return share_of(room_of(ray.nodes()), plans, num_trials, **call.room)


def pace_for(call: Call, remains: Remains, share: Share, console: Console) -> Pace | None:
    """Of finished trials, else measured now; None if that is not wanted."""
    known = pace_of(remains.runs.values())
    if known is not None or not call.is_estimated:
        return known
    with console.status("measuring the pace of a trial (--no-estimate leaves it out)"):
        return measured_pace(next(iter(call.order.plans.values())), share)


def tell_plan(
    call: Call, remains: Remains, share: Share, pace: Pace | None, console: Console
) -> None:
    """How many, how long, how much."""
    order, left = call.order, num_left(call.order, remains)
    lengths = Counter(plan.length for plan in order.plans.values())
    unit = next(iter(order.plans.values())).unit
    steps = " or ".join(f"{length:,}" for length in sorted(lengths))
    gpu = f" and {share.gpus:g} GPUs" if share.gpus else ""
    console.print(
        f"{left} trials of {steps} {unit}, {share.concurrency} at a time, each with "
        f"{share.cpus:g} CPUs{gpu} and {share.threads} threads of torch",
        soft_wrap=True,
    )
    memory = share.concurrency * share.memory_bytes
    saved = left if call.keeps_replay else share.concurrency
    console.print(
        f"memory: {share.concurrency} x {size(share.memory_bytes)} = {size(memory)} when replay is "
        f"full; disk: up to {size(saved * share.disk_bytes)} of checkpoints",
        soft_wrap=True,
    )
    if pace is not None:
        plans = [order.plans[spec.game] for spec in remains.todo] or list(order.plans.values())
        seconds = total_seconds(plans, pace, num_trials=left, concurrency=share.concurrency)
        source = "as finished trials took" if pace.has_evaluation else (
            f"measured just now: {1000 * pace.step_seconds:.3g} ms an env step with its updates; "
            "evaluation comes on top"
        )  # fmt: skip
        console.print(f"time: about {clock_time(seconds)} ({source})", soft_wrap=True)


def conclude(
    call: Call,
    remains: Remains,
    status: SweepStatus | None,
    console: Console,
    *,
    as_json: bool,
) -> int:
    """Says what came of it; returns the exit code: 1 if a trial failed for good."""
    failed = [] if status is None else [t for t in status.trials.values() if t.state == FAILED]
    ran = 0 if status is None else status.count(FINISHED) + status.count(CUT)
    left = num_left(call.order, remains) - ran
    if left:
        console.print(
            f"{left} trials are not finished ({len(failed)} failed); to go on, the same command",
            soft_wrap=True,
        )
    for trial in failed:
        console.print(f"{trial.spec.name}: {trial.error}", style="red", soft_wrap=True)
    console.print(f"to see it: [bold]ez report {call.uri}[/]", soft_wrap=True)
    if as_json:
        print(json.dumps(summary(call, remains, ran, left, len(failed))), flush=True)
    return 1 if failed else 0


def summary(call: Call, remains: Remains, ran: int, left: int, failed: int) -> dict[str, Any]:
    """The same for programs."""
    before = sum(run.is_finished or run.is_stopped for run in remains.runs.values())
    return {
        "out": call.uri,
        "part": remains.part,
        "ended_before": before,
        "ended": ran,
        "failed": failed,
        "left": left,
    }

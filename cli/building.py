"""Ray and the algorithm for one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console

from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from cli.order import Order
    from rllib_ez.algorithm.algorithm import EfficientZero


@contextmanager
def built(order: Order, console: Console) -> Iterator[EfficientZero]:
    """Ray and the algorithm, restored where the run is resumed; a new run's plan is on disk then.

    Raises:
        SettingError: the machine or the cluster has less than the run needs.
    """
    from cli.resources import ray_for
    from rllib_ez.runs.building import algorithm_for, prepare_search

    told = "preparing the search (compiled once on each machine, which takes up to a minute)"
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_for(order.plan.config(order.folder), order.address))
        except SettingError:
            with suppress(OSError):  # made for nothing, unless something is in it
                order.folder.rmdir()
            raise
        order.plan.write(order.folder)
        algo = stack.enter_context(
            algorithm_for(order.plan, order.folder, resume_from=order.resume_from)
        )
        with console.status(told):
            prepare_search(algo)
        yield algo

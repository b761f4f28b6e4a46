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
def built(order: Order) -> Iterator[EfficientZero]:
    """Ray and the algorithm, restored where the run is resumed; a new run's plan is on disk then.

    Raises:
        SettingError: the machine or the cluster has less than the run needs.
    """
    import torch

    from cli.allocator import keep_freed_memory
    from cli.quiet_ray import drop_result_folder
    from cli.resources import ray_for

    config = order.plan.config(order.folder).debugging(log_level="ERROR")
    keep_freed_memory()
    if order.plan.threads:
        torch.set_num_threads(order.plan.threads)
    with ExitStack() as stack:
        try:
            stack.enter_context(ray_for(config, order.address))
        except SettingError:
            with suppress(OSError):  # made for nothing, unless something is in it
                order.folder.rmdir()
            raise
        order.plan.write(order.folder)
        algo = config.build_algo()
        drop_result_folder(algo)
        try:
            if order.resume_from is not None:
                algo.restore_from_path(str(order.resume_from))
            yield algo
        finally:
            algo.stop()


def prepare_search(algo: EfficientZero, console: Console) -> None:
    """Compiles what this machine has not compiled yet: once here, not in every env runner."""
    from rllib_ez.core.engines import pick_device, warm_up

    config = algo.config
    told = "preparing the search (compiled once on each machine, which takes up to a minute)"
    with console.status(told):
        warm_up(
            algo.agent_card().model,
            device=pick_device(config.inference_device),
            engine=config.inference_engine,
        )

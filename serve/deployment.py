"""The service on Ray Serve: a replica holds everything, the board tells all replicas the same.

`build` is what a Serve config file names: `import_path: serve.deployment:build`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from rllib_ez.core.cores import usable_cores
from rllib_ez.errors import SettingError
from serve.app import build_app
from serve.board_deployment import BoardDeployment, HandleLink
from serve.environment import FAST_CHECKS
from serve.logs import log, log_as_json
from serve.naming import check_models
from serve.service import Service
from serve.settings import ServiceSettings

APP = "ez"  # the application's name within Ray Serve
MAX_ONGOING = 4096  # requests and connections of a replica; its own queue is what refuses first


class ActionService:
    """One replica."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, settings: dict[str, Any], board: DeploymentHandle
    ) -> None:
        checked = ServiceSettings.of(settings)
        log_as_json(checked.log_folder)
        torch.set_num_threads(checked.threads or max(1, usable_cores() - 1))
        self.service = Service(checked, HandleLink(board))
        self._has_started = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Ray Serve after the constructor."""
        return build_app(self.service, tells_request_id=False)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Takes over `models`. Requests come only after the first time has returned.

        Later ones return at once: Serve sends a replica nothing while this runs, and kills one
        where it raises.
        """
        if not self._has_started:
            await self.service.start(check_models((user_config or {}).get("models")))
            self._has_started = True
            return
        try:
            models = check_models((user_config or {}).get("models"))
        except SettingError as error:
            log.error("user_config_refused", extra={"fields": {"error": str(error)}})
            return
        task = asyncio.create_task(self._configure(models))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _configure(self, models: dict[str, Any]) -> None:
        try:
            await self.service.roster.configure(models)
        except Exception as error:  # the board is being restarted; Serve will not ask again
            log.error("configure_failed", exc_info=error)

    def check_health(self) -> None:
        """Raises where only a new process helps."""
        self.service.check_alive()

    async def __del__(self) -> None:
        """Called by Ray Serve before the process ends."""
        if hasattr(self, "service"):
            await self.service.stop()


def build(args: dict[str, Any]) -> serve.Application:
    """The application, for `serve.run` and for config files.

    Args:
        args: settings of the service, see `serve.settings.ServiceSettings` and `BatcherConfig`;
            `models`: name: {"checkpoint": path, "follow": bool}, where no `user_config` has them;
            `num_gpus` of a replica; `num_replicas`, or `autoscaling` as [fewest, most].

    Raises:
        SettingError: an unknown name, or a value out of range.
    """
    args = dict(args)
    models, num_gpus = args.pop("models", None), args.pop("num_gpus", 0)
    replicas, autoscaling = args.pop("num_replicas", 1), args.pop("autoscaling", None)
    settings = ServiceSettings.of(args)
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": 1, "num_gpus": num_gpus},
        "max_ongoing_requests": MAX_ONGOING,
        "graceful_shutdown_timeout_s": settings.drain_seconds + 5,
        "graceful_shutdown_wait_loop_s": 0.1,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1.0},
        **FAST_CHECKS,
    }
    if models is not None:
        options["user_config"] = {"models": check_models(models)}
    if autoscaling is None:
        options["num_replicas"] = replicas
    else:
        options["autoscaling_config"] = {
            "min_replicas": autoscaling[0],
            "max_replicas": autoscaling[1],
            # A full batch is searched while another waits.
            "target_ongoing_requests": 1.5 * settings.batcher.max_batch,
        }
    board = serve.deployment(
        BoardDeployment,
        name="Board",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        **FAST_CHECKS,
    )
    service = serve.deployment(serve.ingress()(ActionService), name="ActionService", **options)
    return service.bind(args, board.bind())

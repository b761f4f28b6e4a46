"""Our service with Ray Serve's own batcher: everything else is as `serve.deployment` has it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

import serve.deployment
import serve.service
from serve.batcher import Answered, Batcher, BatchRecord, Job, Lane
from serve.deployment import ActionService

MAX_BATCH, WAIT_SECONDS, MAX_ONGOING = 64, 0.01, 256


class ServeBatcher(Batcher):
    """Asks `@serve.batch` to cut the batches; the device and its thread are the same."""

    async def submit(
        self, lane: Lane[Any, Any], query: Any, *, count: int, timeout: float
    ) -> Answered[Any]:
        """Waits for one request's answer; one observation a request, one model a service."""
        assert count == 1, count
        job: Job[Any, Any] = Job(lane, query, count, asyncio.get_running_loop().create_future())
        return await asyncio.wait_for(self.together(job), timeout)

    @ray_serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_SECONDS)
    async def together(self, jobs: list[Job[Any, Any]]) -> list[Answered[Any]]:
        """Searches a batch."""
        begun = time.perf_counter()
        answers, error, wall, cpu = await self._on_device(jobs[0].lane, jobs)
        if error is not None:
            raise error
        waits = [begun - job.arrived for job in jobs]
        self._on_batch(BatchRecord(jobs[0].lane.name, len(jobs), wall, cpu, waits))
        return [
            Answered(answer, wait, wall, len(jobs))
            for answer, wait in zip(answers, waits, strict=True)
        ]


class ServeBatchedService(ActionService):
    """One replica with that batcher."""

    async def __init__(self, settings: dict[str, Any], board: DeploymentHandle) -> None:
        serve.service.Batcher = ServeBatcher  # in this process, which is the replica's
        await super().__init__(settings, board)


def batched_application(args: dict[str, Any]) -> Any:
    """The application as `serve.deployment.build` makes it, with that replica in it."""
    before = serve.deployment.ActionService, serve.deployment.MAX_ONGOING
    serve.deployment.ActionService = ServeBatchedService
    serve.deployment.MAX_ONGOING = MAX_ONGOING
    try:
        return serve.deployment.build(args)
    finally:
        serve.deployment.ActionService, serve.deployment.MAX_ONGOING = before

"""From what the clients of a load test have seen to what is told of it. Times in ms."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

PERCENTILES = (50, 95, 99)
ACT_ROUTES = ("/v1/models/{name}/act", "/v1/act")
OTHERS_SHARE = 0.1  # of the replica's requests that may be somebody else's, or uncounted


# From a reply's body to ms in the queue, ms searched, and observations searched together.
ReadReply = Callable[[bytes], tuple[float, float, int]]


def read_reply(body: bytes) -> tuple[float, float, int]:
    """What an action service says of itself in each reply; any error if this is none."""
    told = json.loads(body)
    timing = told["timing_ms"]
    return float(timing["queue"]), float(timing["search"]), int(told["batch_size"])


@dataclass(slots=True)
class Tally:
    """What the clients of one step see. The lists go together: an entry for each success."""

    read: ReadReply = read_reply
    is_open: bool = False  # replies count
    is_over: bool = False  # no more requests
    num_replies: int = 0  # of all time, counted or not, errors among them
    latency: list[float] = field(default_factory=list)  # ms
    queue: list[float] = field(default_factory=list)  # ms, as the service says
    search: list[float] = field(default_factory=list)  # ms, as the service says
    observations_by_batch: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def reply(self, status: int, body: bytes, *, seconds: float, observations: int) -> None:
        """A reply has come; it counts if it came within the time measured."""
        self.num_replies += 1
        if not self.is_open:
            return
        if status != 200:
            self.errors[str(status)] += 1
            return
        try:
            queue, search, batch = self.read(body)
        except (ValueError, LookupError, TypeError):
            self.errors["unreadable reply"] += 1
            return
        self.latency.append(seconds * 1000)
        self.queue.append(queue)
        self.search.append(search)
        self.observations_by_batch[batch] += observations

    def error(self, error: OSError) -> None:
        """There was no reply."""
        if not self.is_open:
            return
        kind = {TimeoutError: "timeout", ConnectionRefusedError: "refused"}
        self.errors[kind.get(type(error), "broken connection")] += 1


@dataclass(frozen=True, slots=True)
class Counters:
    """What a replica says of itself at one moment."""

    requests: float  # for actions of one model, successful or not
    process_cpu: float  # seconds
    search_cpu: float  # seconds of them on the device's thread

    @classmethod
    def read(cls, exposition: str, *, model: str) -> Counters:
        """From the text of /metrics.

        Raises:
            LookupError: a counter is not there.
        """
        from prometheus_client.parser import text_string_to_metric_families

        values: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(exposition):
            for name, labels, value, *_ in family.samples:
                is_act = labels.get("model") == model and labels.get("route") in ACT_ROUTES
                if name != "ez_requests_total" or is_act:
                    values[name] += value
        process, search = "ez_process_cpu_seconds_total", "ez_search_cpu_seconds_total"
        if process not in values or search not in values:
            raise LookupError(f"{process} and {search} must be told, got {sorted(values)}")
        return cls(values["ez_requests_total"], values[process], values[search])


@dataclass(frozen=True, slots=True)
class ServerCpu:
    """Processor time of the replica for one request, ms."""

    http: float  # everything but the search
    search: float

    @classmethod
    def between(
        cls, before: Counters | None, after: Counters | None, *, replies: int
    ) -> ServerCpu | None:
        """None where the counters cannot be of the one replica that gave all the replies.

        Args:
            before: at the beginning; None: not told.
            after: at the end.
            replies: that the clients have seen in between, errors included.
        """
        if before is None or after is None:
            return None
        requests = after.requests - before.requests
        process = after.process_cpu - before.process_cpu
        search = after.search_cpu - before.search_cpu
        if requests <= 0 or process <= 0 or search < 0:
            return None
        if abs(requests - replies) > max(OTHERS_SHARE * replies, 2):
            return None
        return cls(1000 * (process - search) / requests, 1000 * search / requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStep:
    """What so many clients at once have seen."""

    concurrency: int
    seconds: float
    requests: int  # answered with 200
    observations: int
    requests_per_second: float
    observations_per_second: float
    latency_ms: dict[str, float] | None  # mean, p50, p95, p99, max; None: no success
    queue_ms: float | None  # mean, as the service says; waiting for the device
    search_ms: float | None  # mean, as the service says
    shares: dict[str, float] | None  # of the mean latency: queue, search, rest; sum to 1
    errors: dict[str, int]  # by HTTP status, or by what happened to the connection
    observations_by_batch: dict[int, int]  # batch size: observations searched in such batches
    batch_mean: float | None  # observations searched together, mean over batches
    server_cpu_ms: ServerCpu | None  # a request; None: not told, or not by one replica
    client_cpu_ms: float | None  # a request, of the load generator itself


def reduced(
    tally: Tally,
    *,
    concurrency: int,
    seconds: float,
    client_cpu_seconds: float,
    server_cpu: ServerCpu | None,
) -> LoadStep:
    """The step's report.

    Args:
        tally: what the clients have seen.
        concurrency: how many they were.
        seconds: between the beginning and the end of counting.
        client_cpu_seconds: of this process, in that time.
        server_cpu: of the replica, for one request.
    """
    count, failed = len(tally.latency), sum(tally.errors.values())
    observations = sum(tally.observations_by_batch.values())
    latency = latency_summary(tally.latency)
    queue = float(np.mean(tally.queue)) if count else None
    search = float(np.mean(tally.search)) if count else None
    done = count + failed
    return LoadStep(
        concurrency=concurrency,
        seconds=seconds,
        requests=count,
        observations=observations,
        requests_per_second=count / seconds,
        observations_per_second=observations / seconds,
        latency_ms=latency,
        queue_ms=queue,
        search_ms=search,
        shares=None if latency is None else shares_of(latency["mean"], queue or 0, search or 0),
        errors=dict(sorted(tally.errors.items())),
        observations_by_batch=dict(sorted(tally.observations_by_batch.items())),
        batch_mean=batch_mean(tally.observations_by_batch),
        server_cpu_ms=server_cpu,
        client_cpu_ms=1000 * client_cpu_seconds / done if done else None,
    )


def latency_summary(latencies: Sequence[float]) -> dict[str, float] | None:
    """Mean, percentiles (linear between neighbours) and maximum; None of nothing."""
    if not latencies:
        return None
    summary = {"mean": float(np.mean(latencies))}
    for percent, value in zip(PERCENTILES, np.percentile(latencies, PERCENTILES), strict=True):
        summary[f"p{percent}"] = float(value)
    return {**summary, "max": float(np.max(latencies))}


def shares_of(latency: float, queue: float, search: float) -> dict[str, float]:
    """Shares of a mean latency: waiting for the device, searching, and all the rest."""
    if latency <= 0:
        return {"queue": math.nan, "search": math.nan, "rest": math.nan}
    rest = latency - queue - search
    return {"queue": queue / latency, "search": search / latency, "rest": rest / latency}


def batches_by_size(observations_by_batch: dict[int, int] | Counter[int]) -> dict[int, float]:
    """How many batches of each size the observations were in."""
    return {size: count / size for size, count in observations_by_batch.items()}


def batch_mean(observations_by_batch: dict[int, int] | Counter[int]) -> float | None:
    """Mean size of a batch; None of none."""
    batches = sum(batches_by_size(observations_by_batch).values())
    return sum(observations_by_batch.values()) / batches if batches else None

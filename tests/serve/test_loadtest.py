"""Load tests: their arithmetic by hand, their clients against services good and bad."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httptools
import msgpack
import numpy as np
import pytest

from rllib_ez.errors import EfficientZeroError, SettingError
from serve.load_connection import Address, Connection
from serve.load_report import (
    Counters,
    LoadStep,
    ServerCpu,
    Tally,
    batch_mean,
    batches_by_size,
    latency_summary,
    reduced,
    shares_of,
)
from serve.loadtest import LoadSettings, LoadTest, encoded, random_stacks, requests_to
from tests.serve.under_load import GOOD, MODEL, answer_of, running_service, scripted_service

OK = answer_of(200, GOOD)
EXPOSITION = """
ez_requests_total{model="toy",route="/v1/models/{name}/act",code="200"} 90.0
ez_requests_total{model="toy",route="/v1/models/{name}/act",code="429"} 10.0
ez_requests_total{model="other",route="/v1/models/{name}/act",code="200"} 7.0
ez_requests_total{model="toy",route="/v1/models/{name}",code="200"} 5.0
ez_process_cpu_seconds_total 3.5
ez_search_cpu_seconds_total 1.25
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_service(tmp_path_factory.mktemp("agent")) as url:
        yield url


def step_of(url: str, *, clients: int = 2, **settings: Any) -> LoadStep:
    chosen = {"seconds": 0.5, "warm_up_seconds": 0.1, **settings}
    test = LoadTest(LoadSettings(url=url, **chosen))

    async def run() -> LoadStep:
        await test.prepare()
        return await test.step(clients)

    return asyncio.run(run())


def test_percentiles_are_linear_between_neighbours():
    summary = latency_summary([40.0, 10.0, 20.0, 30.0, 50.0])
    assert summary == {
        "mean": 30.0,
        "p50": 30.0,
        "p95": pytest.approx(48.0),
        "p99": pytest.approx(49.6),
        "max": 50.0,
    }


def test_no_latencies_have_no_summary():
    assert latency_summary([]) is None


def test_what_is_neither_queue_nor_search_is_the_rest():
    assert shares_of(20.0, 5.0, 10.0) == {"queue": 0.25, "search": 0.5, "rest": 0.25}
    assert math.isnan(shares_of(0.0, 0.0, 0.0)["rest"])


def test_a_batch_counts_once_however_many_requests_it_held():
    assert batches_by_size({4: 8, 1: 2}) == {4: 2.0, 1: 2.0}
    assert batch_mean({4: 8, 1: 2}) == 2.5
    assert batch_mean(Counter()) is None


def test_counters_are_those_of_the_model_and_of_its_actions():
    assert Counters.read(EXPOSITION, model="toy") == Counters(100.0, 3.5, 1.25)


def test_an_exposition_without_the_clocks_is_refused():
    with pytest.raises(LookupError, match="ez_process_cpu_seconds_total"):
        Counters.read('ez_requests_total{model="toy",route="/v1/act",code="200"} 1', model="toy")


def test_cpu_of_a_request_is_split_into_search_and_all_else():
    before, after = Counters(100, 3.5, 1.25), Counters(300, 4.0, 1.35)
    cpu = ServerCpu.between(before, after, replies=201)
    assert cpu == ServerCpu(http=pytest.approx(2.0), search=pytest.approx(0.5))


@pytest.mark.parametrize(
    ("before", "after", "replies"),
    [
        (None, Counters(1, 1, 1), 1),
        (Counters(1, 1, 1), None, 1),
        (Counters(300, 4.0, 1.35), Counters(100, 3.5, 1.25), 200),  # another replica, or anew
        (Counters(100, 3.5, 1.25), Counters(300, 3.0, 1.35), 200),
        (Counters(100, 3.5, 1.25), Counters(300, 4.0, 1.15), 200),
        (Counters(100, 3.5, 1.25), Counters(200, 4.0, 1.35), 200),  # half by another replica
        (Counters(100, 3.5, 1.25), Counters(500, 4.0, 1.35), 200),  # half by other clients
    ],
)
def test_cpu_is_not_told_where_the_counters_are_not_of_these_requests(before, after, replies):
    assert ServerCpu.between(before, after, replies=replies) is None


def test_a_step_is_reduced_to_rates_shares_and_counts():
    tally = Tally(is_open=True)
    for seconds, body in ((0.004, b'{"timing_ms":{"queue":1,"search":2},"batch_size":6}'),) * 3:
        tally.reply(200, body, seconds=seconds, observations=2)
    tally.reply(429, b"", seconds=0.001, observations=2)
    step = reduced(tally, concurrency=4, seconds=1.5, client_cpu_seconds=0.008, server_cpu=None)
    assert (step.requests, step.observations, step.errors) == (3, 6, {"429": 1})
    assert (step.requests_per_second, step.observations_per_second) == (2.0, 4.0)
    assert step.shares == {"queue": 0.25, "search": 0.5, "rest": 0.25}
    assert (step.observations_by_batch, step.batch_mean) == ({6: 6}, 6.0)
    assert step.client_cpu_ms == 2.0


def test_replies_outside_the_measured_time_do_not_count():
    tally = Tally()
    tally.reply(200, b"{}", seconds=1.0, observations=1)
    tally.error(TimeoutError())
    assert (tally.latency, tally.errors, tally.num_replies) == ([], Counter(), 1)


def test_observations_are_the_same_for_the_same_seed_and_fit_the_space():
    pixels = [random_stacks(np.random.default_rng(s), (2, 3, 4), "uint8") for s in (1, 1, 2)]
    assert pixels[0].shape == (2, 3, 4)
    assert pixels[0].dtype == np.uint8
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])


def test_a_body_of_msgpack_holds_the_bytes_and_the_simulations():
    settings = LoadSettings(url="http://h", format="msgpack", simulations=5)
    stacks = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    assert msgpack.unpackb(encoded(stacks, settings)) == {
        "observations": {"data": stacks.tobytes(), "shape": [2, 1, 4], "dtype": "float32"},
        "simulations": 5,
    }


def test_a_request_goes_below_the_prefix_with_its_token():
    settings = LoadSettings(url="http://h:1/ez/", simulations=3, token="secret")
    request = requests_to(Address.of(settings.url), settings, MODEL)[0]
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /ez/v1/models/toy/act?simulations=3 HTTP/1.1\r\nHost: h:1\r\n")
    assert b"Authorization: Bearer secret\r\n" in head
    assert len(body) == 16


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://h", "http://", "http://h:x", "http://h:0"]
)
def test_what_is_no_url_of_http_is_refused(url):
    with pytest.raises(SettingError, match="URL must be http"):
        Address.of(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": ()},
        {"concurrency": (0,)},
        {"format": "xml"},
        {"seconds": 0.0},
        {"timeout_seconds": 0.0},
        {"observations": 0},
        {"simulations": 0},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        LoadSettings(url="http://h", **wrong)


@pytest.mark.parametrize("asked", [{"observations": 5}, {"simulations": 9}])
def test_more_than_the_model_takes_is_refused_before_it_is_sent(asked):
    with scripted_service(OK) as url, pytest.raises(SettingError, match="must be <= "):
        step_of(url, **asked)


@pytest.mark.parametrize("body_format", ["raw", "json", "msgpack"])
def test_a_service_answers_every_format(service, body_format):
    step = step_of(service, format=body_format, observations=3, clients=3)
    assert step.errors == {}
    assert step.observations == 3 * step.requests > 0
    assert set(step.observations_by_batch) <= {3, 6, 9}
    assert sum(step.shares.values()) == pytest.approx(1)
    assert step.latency_ms["p50"] >= step.search_ms > 0


def test_the_budget_that_is_asked_for_is_searched(service):
    slow, fast = (step_of(service, simulations=n, clients=1) for n in (400, 1))
    assert slow.search_ms > 3 * fast.search_ms


def test_a_single_replica_tells_its_cpu(service):
    step = step_of(service)
    assert 0 < step.server_cpu_ms.search < step.server_cpu_ms.http < 20


def test_each_kind_of_error_is_counted():
    answers = (OK, answer_of(429, {}), answer_of(500, {}), None, answer_of(200, {}), b"no HTTP\r\n")
    with scripted_service(*answers) as url:
        step = step_of(url, clients=1, seconds=1.0)
    kinds = {"429", "500", "broken connection", "unreadable reply"}
    assert set(step.errors) == kinds
    assert min(step.errors.values()) > 0
    assert step.errors["broken connection"] > step.errors["500"]  # two of the answers
    assert step.requests > 0


def test_nothing_is_asked_a_second_time():
    with scripted_service(answer_of(503, {}), OK) as url:
        step = step_of(url, clients=1)
    assert abs(step.errors["503"] - step.requests) <= 1


def test_silence_is_a_timeout():
    with scripted_service(b"") as url:
        step = step_of(url, clients=2, timeout_seconds=0.2)
    assert set(step.errors) == {"timeout"}
    assert (step.requests, step.latency_ms, step.shares) == (0, None, None)


def test_without_metrics_the_cpu_is_not_told():
    with scripted_service(OK) as url:
        assert step_of(url).server_cpu_ms is None


def test_a_server_that_closes_after_each_reply_is_asked_anew():
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    with scripted_service(closing) as url:
        step = step_of(url)
    assert step.errors == {}
    assert step.requests > 10


def test_an_unknown_model_is_told_in_the_services_words(service):
    with pytest.raises(EfficientZeroError, match="HTTP 404: model must be one of"):
        step_of(service, model="nope")


def test_where_nothing_listens_one_line_says_so():
    with pytest.raises(EfficientZeroError, match="URL must be of a service that answers"):
        step_of("http://127.0.0.1:9")


def test_a_server_of_another_kind_is_told_apart():
    with scripted_service(OK) as url, pytest.raises(EfficientZeroError, match="HTTP 404"):
        step_of(url + "/elsewhere")


def test_a_reply_in_pieces_is_read_whole():
    replies: list[tuple[int, bytes]] = []

    async def run() -> None:
        connection = Connection(Address.of("http://h"), 1.0)
        connection._reply = asyncio.get_running_loop().create_future()
        connection._parser = httptools.HttpResponseParser(connection)
        for byte in OK:
            connection.data_received(bytes([byte]))
        replies.append(await connection._reply)

    asyncio.run(run())
    assert replies == [(200, OK.partition(b"\r\n\r\n")[2])]

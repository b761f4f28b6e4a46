"""A call goes to an object or to an actor, and the caller sees no difference."""

import os
import signal
import threading
import time

import pytest

pytestmark = pytest.mark.ray


class Echo:
    """Something to call."""

    def small(self, value):
        return (value,)

    def both(self, value, *, more):
        return (value, [value] * more, "third")

    def fail(self):
        raise ValueError("no")

    def pid(self):
        return (os.getpid(),)

    def sleep(self, seconds):
        time.sleep(seconds)
        return (seconds,)


@pytest.fixture(params=["here", "thread", "actor"])
def echo(request, ray_session):
    import ray

    from rllib_ez.algorithm.workers import LocalWorker, RemoteWorker, ThreadWorker

    if request.param != "actor":
        return {"here": LocalWorker, "thread": ThreadWorker}[request.param](Echo())
    return RemoteWorker(ray.remote(num_cpus=0, max_restarts=0)(Echo).remote())


@pytest.fixture
def calls():
    from rllib_ez.algorithm.workers import Calls

    return Calls()


def unexpected(gone):
    raise AssertionError(gone)


def test_the_small_result_is_a_value_and_the_large_are_passed_on(echo, calls):
    from rllib_ez.algorithm.workers import value_of

    got = []
    calls.start(echo.call("small", 3), got.append, lost=unexpected)
    calls.start(
        echo.call("both", 4, more=2, num_large=2), lambda *all: got.extend(all), lost=unexpected
    )
    while len(calls):
        assert calls.take_one(timeout=10)
    assert got[:2] == [3, 4]
    assert [value_of(one) for one in got[2:]] == [[4, 4], "third"]


def test_what_was_passed_on_can_be_an_argument_of_either(echo, calls):
    import ray

    got = []
    calls.start(echo.call("small", ray.put("far")), got.append, lost=unexpected)
    calls.take_one(timeout=10)
    assert got == ["far"]


def test_an_error_of_the_method_is_raised_to_the_driver(echo, calls):
    def call_and_wait():
        calls.start(echo.call("fail"), unexpected, lost=unexpected)
        calls.take_one(timeout=10)

    with pytest.raises(ValueError, match="no"):
        call_and_wait()


def test_waiting_ends_when_nothing_is_over_in_time(ray_session, calls):
    import ray

    from rllib_ez.algorithm.workers import RemoteWorker

    worker = RemoteWorker(ray.remote(num_cpus=0)(Echo).remote())
    calls.start(worker.call("sleep", 1.5), lambda _: None, lost=unexpected)
    began = time.monotonic()
    assert not calls.take_one(timeout=0.2)
    assert time.monotonic() - began < 1.2
    assert calls.take_one(timeout=10)
    assert not calls.take_one(timeout=0.01)


def killed_worker(**options):
    import ray

    from rllib_ez.algorithm.workers import RemoteWorker

    worker = RemoteWorker(ray.remote(num_cpus=0, **options)(Echo).remote())
    pid = ray.get(worker.target.pid.remote())[0]
    call = worker.call("sleep", 60)
    os.kill(pid, signal.SIGKILL)
    return call


@pytest.mark.parametrize(("restarts", "for_good"), [(0, True), (-1, False)])
def test_a_killed_worker_is_told_as_lost(ray_session, calls, restarts, for_good):
    lost = []
    call = killed_worker(max_restarts=restarts, max_task_retries=0)
    calls.start(call, unexpected, lost=lost.append)
    while not lost:
        calls.take_one(timeout=1)
    assert (lost[0].for_good, lost[0].is_object) == (for_good, False)


def test_an_argument_that_died_with_its_owner_is_told_as_a_lost_object(ray_session, calls):
    import ray

    from rllib_ez.algorithm.workers import RemoteWorker

    class Owner(Echo):
        def put(self):
            return [ray.put(bytes(10**6))]

    owner = ray.remote(num_cpus=0, max_restarts=0)(Owner).remote()
    (inner,) = ray.get(owner.put.remote())
    ray.kill(owner)
    time.sleep(1)
    lost = []
    worker = RemoteWorker(ray.remote(num_cpus=0)(Echo).remote())
    calls.start(worker.call("small", inner), unexpected, lost=lost.append)
    began = time.monotonic()
    while not lost and time.monotonic() - began < 30:
        calls.take_one(timeout=1)
    assert lost[0].is_object


def test_calls_of_a_thread_are_over_in_their_order_and_beside_the_caller(calls):
    from rllib_ez.algorithm.workers import ThreadWorker

    began, order = [], []
    worker = ThreadWorker(Echo(), begin=lambda: began.append(threading.get_ident()))
    start = time.perf_counter()
    for seconds in (0.5, 0.0):
        calls.start(worker.call("sleep", seconds), order.append, lost=unexpected)
    assert time.perf_counter() - start < 0.25
    assert not calls.take_one(timeout=0)
    while len(calls):
        calls.take_one(timeout=1)
    assert order == [0.5, 0.0]
    assert began != [threading.get_ident()]


@pytest.mark.parametrize("slow", ["thread", "actor"])
def test_of_threads_and_actors_whoever_is_ready_is_heard_first(ray_session, calls, slow):
    import ray

    from rllib_ez.algorithm.workers import RemoteWorker, ThreadWorker

    workers = {"thread": ThreadWorker(Echo())}
    workers["actor"] = RemoteWorker(ray.remote(num_cpus=0)(Echo).remote())
    ray.get(workers["actor"].target.pid.remote())  # it is up
    heard = []
    for name, worker in workers.items():
        call = worker.call("sleep", 1.5 if name == slow else 0.1)
        calls.start(call, lambda seconds, name=name: heard.append(name), lost=unexpected)
    while len(calls):
        calls.take_one(timeout=0.5)
    assert heard[1] == slow


def test_what_a_thread_is_at_is_waited_for_before_it_is_forgotten(calls):
    from rllib_ez.algorithm.workers import ThreadWorker

    call = ThreadWorker(Echo()).call("sleep", 0.3)
    calls.start(call, unexpected, lost=unexpected)
    calls.forget()
    assert call.small.future.done()
    assert len(calls) == 0

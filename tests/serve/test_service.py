"""From a request to its answer: sessions, queues, and what is told of each that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.apps import RAW, Held, Served, error_of, serving

FRAMES = np.random.default_rng(8).integers(256, size=(5, 32, 32, 3), dtype=np.uint8)
RAW_HEADER = {"content-type": RAW}


@pytest.fixture
def served(vector_agent: Path, pixel_agent: Path) -> Iterator[Served]:
    models = {"pixel": pixel_agent, "vector": vector_agent}
    with serving(models, max_sessions=2, max_batch=4, max_queue=4) as one:
        yield one


def stack_at(step: int) -> np.ndarray:
    """[3, 32, 32, 3]: as the episode of FRAMES has it."""
    return FRAMES[[max(0, step - 2), max(0, step - 1), step]]


def value_of_stack(served: Served, step: int) -> Any:
    return served.raw(stack_at(step), model="pixel", include="value")["value"]


def push(served: Served, frame: int, *, session: str = "s", **query: Any) -> Any:
    """One frame in a session; the response."""
    return served.act(
        FRAMES[frame].tobytes(),
        model="pixel",
        headers=RAW_HEADER,
        params={"session_id": session, "include": "value", **query},
    )


def test_a_session_keeps_the_stack(served: Served):
    for step in range(5):
        reset = {"reset": "true"} if step == 0 else {}
        assert push(served, step, step=step, **reset).json()["value"] == value_of_stack(
            served, step
        )


def test_a_step_that_is_sent_again_is_answered_again(served: Served):
    push(served, 0, step=0, reset="true")
    for _ in range(3):
        assert push(served, 1, step=1).json()["value"] == value_of_stack(served, 1)


def test_a_step_that_does_not_follow_is_lost(served: Served):
    push(served, 0, step=0, reset="true")
    assert error_of(push(served, 2, step=2), 409)["code"] == "session_lost"
    assert push(served, 1, step=1).json()["value"] == value_of_stack(served, 1)


def test_a_session_that_is_not_known_is_lost_until_its_stack_comes(served: Served):
    assert error_of(push(served, 3, step=3), 409)["code"] == "session_lost"
    params = {"session_id": "s", "step": 3}
    got = served.act(stack_at(3).tobytes(), model="pixel", headers=RAW_HEADER, params=params)
    assert got.status_code == 200
    assert push(served, 4, step=4).json()["value"] == value_of_stack(served, 4)


@pytest.mark.parametrize("wrong", [{"simulations": "999"}, {"deadline_ms": "1e-6"}])
def test_a_frame_that_was_not_answered_may_be_sent_again(served: Served, wrong: dict[str, str]):
    push(served, 0, reset="true")
    assert push(served, 1, **wrong).status_code in (408, 422)
    assert push(served, 1).json()["value"] == value_of_stack(served, 1)


def test_sessions_are_bounded(served: Served):
    for name in ("a", "b"):
        assert push(served, 0, session=name, reset="true").status_code == 200
    error = error_of(push(served, 0, session="c", reset="true"), 429)
    assert error["code"] == "too_many_sessions"
    assert push(served, 1, session="a").status_code == 200


@pytest.mark.parametrize("fields", [{"step": 1}, {"reset": True}])
def test_what_is_for_sessions_is_refused_without_one(served: Served, fields: dict[str, Any]):
    got = served.act({"observation": [0, 0, 0, 0], **fields})
    assert "come with session_id" in error_of(got, 422)["message"]


def test_a_session_takes_no_batch(served: Served):
    got = served.act({"observations": [[0, 0, 0, 0]], "session_id": "s"})
    assert error_of(got, 422)["details"]["fields"] == ["observations"]


def test_more_than_a_batch_is_refused(served: Served):
    got = served.act({"observations": [[0, 0, 0, 0]] * 5})
    assert "at most 4, got 5" in error_of(got, 422)["message"]


def test_a_full_queue_refuses_what_comes_then(served: Served, monkeypatch: pytest.MonkeyPatch):
    held, codes = Held(served, monkeypatch), []
    four = {"observations": [[0, 0, 0, 0]] * 4}
    threads = [
        threading.Thread(target=lambda: codes.append(served.act(four).status_code))
        for _ in range(2)
    ]
    threads[0].start()
    assert held.has_begun.wait(20)
    threads[1].start()
    held.wait_until_queued(4)
    error = error_of(served.act(four), 429)
    held.go.set()
    for thread in threads:
        thread.join()
    assert error["code"] == "overloaded"
    assert codes == [200, 200]


def test_a_removed_model_tells_who_waits(served: Served, monkeypatch: pytest.MonkeyPatch):
    held, got = Held(served, monkeypatch), []
    good = {"observation": [0, 0, 0, 0]}
    threads = [threading.Thread(target=lambda: got.append(served.act(good))) for _ in range(2)]
    threads[0].start()
    assert held.has_begun.wait(20)
    threads[1].start()
    held.wait_until_queued(1)
    served.client.portal.call(served.service.remove, "vector")  # type: ignore[union-attr]
    held.go.set()
    for thread in threads:
        thread.join()
    codes = sorted(one.status_code for one in got)
    assert codes == [200, 503]
    refused = max(got, key=lambda one: one.status_code)
    assert error_of(refused, 503)["code"] == "not_ready"


def test_a_search_that_fails_is_ours_and_the_next_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    def fail(queries: list[Any]) -> list[Any]:
        raise ArithmeticError("secret")

    with monkeypatch.context() as patched:
        patched.setattr(served.service.roster.seats["vector"].lane, "search", fail)
        got = served.act({"observation": [0, 0, 0, 0]})
    assert error_of(got, 500)["code"] == "internal"
    assert "secret" not in got.text
    assert served.act({"observation": [0, 0, 0, 0]}).status_code == 200

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_ez.agent import Agent
from rllib_ez.core.types import SearchResult
from serve.models import Found, ServedModel, load_model
from serve.query import Query
from serve.schema import ActRequest
from serve.settings import ServiceSettings


def load(path: Path, **settings: Any) -> ServedModel:
    checked = ServiceSettings.of(settings)
    return load_model(str(path), name="m", version=3, settings=checked)


@pytest.fixture(scope="module")
def vector(vector_agent: Path) -> ServedModel:
    return load(vector_agent)


@pytest.fixture(scope="module")
def pixel(pixel_agent: Path) -> ServedModel:
    return load(pixel_agent)


def query(model: ServedModel, rng: np.random.Generator, count: int, **given: Any) -> Query:
    """Random observations with budgets of their own."""
    shape = (count, *model.agent.observation_shape)
    pictures = rng.integers(0, 256, shape).astype(np.uint8)
    is_pixel = model.card.frame_dtype == "uint8"
    chosen: dict[str, Any] = {
        "observations": pictures if is_pixel else rng.normal(size=shape).astype(np.float32),
        "num_simulations": rng.integers(1, 20, count).astype(np.int32),
        "legal": None,
        "seeds": rng.integers(0, 2**63, count).astype(np.uint64),
        "deterministic": True,
        "temperature": 1.0,
        "include": frozenset(),
        "is_batch": True,
        "drawn_seed": False,
    }
    return Query(**chosen | given)


def mask(model: ServedModel, rng: np.random.Generator, count: int) -> np.ndarray:
    legal = rng.random((count, model.card.model.num_actions)) < 0.5
    legal[np.arange(count), rng.integers(0, legal.shape[1], count)] = True
    return legal


def mixed(model: ServedModel, seed: int) -> list[Query]:
    """Requests as different clients send them."""
    rng = np.random.default_rng(seed)
    return [
        query(model, rng, 1),
        query(model, rng, 3, legal=mask(model, rng, 3)),
        query(model, rng, 2, include=frozenset({"q", "principal_variation"})),
        query(model, rng, 4, legal=mask(model, rng, 4), deterministic=False, temperature=0.5),
        query(model, rng, 1, deterministic=False, include=frozenset({"policy", "value"})),
    ]


def assert_same(one: Found, other: Found) -> None:
    """To the bit; traces where both have one."""
    assert one.action.tobytes() == other.action.tobytes()
    for name in (f.name for f in fields(one.result) if f.name != "trace"):
        ours, theirs = getattr(one.result, name), getattr(other.result, name)
        assert ours.tobytes() == theirs.tobytes(), name
    if one.result.trace is not None and other.result.trace is not None:
        assert one.result.trace.q.tobytes() == other.result.trace.q.tobytes()
        np.testing.assert_array_equal(
            one.result.trace.principal_variation, other.result.trace.principal_variation
        )


@pytest.mark.parametrize("kind", ["vector", "pixel"])
def test_a_mixed_batch_equals_single_searches_to_the_bit(kind: str, request: pytest.FixtureRequest):
    model: ServedModel = request.getfixturevalue(kind)
    queries = mixed(model, seed=1)
    for together, one in zip(model.search(queries), queries, strict=True):
        assert_same(together, model.search([one])[0])


def test_one_request_of_many_equals_many_of_one(vector: ServedModel):
    rng = np.random.default_rng(2)
    many = query(vector, rng, 5, legal=mask(vector, rng, 5), deterministic=False)
    [found] = vector.search([many])
    for i in range(5):
        rows = {
            name: getattr(many, name)[i : i + 1]
            for name in ("observations", "num_simulations", "legal", "seeds")
        }
        [single] = vector.search([replace(many, **rows)])
        assert_same(
            single, Found(found.action[i : i + 1], found.result.rows(np.array([i])), vector)
        )


def test_budgets_are_kept(pixel: ServedModel):
    queries = mixed(pixel, seed=3)
    for found, asked in zip(pixel.search(queries), queries, strict=True):
        counts = found.result.visit_counts
        np.testing.assert_array_equal(counts.sum(axis=1), asked.num_simulations)


def test_forbidden_actions_are_never_played(pixel: ServedModel):
    rng = np.random.default_rng(4)
    legal = mask(pixel, rng, 64)
    asked = query(pixel, rng, 64, legal=legal, deterministic=False, temperature=100.0)
    [found] = pixel.search([asked])
    assert legal[np.arange(64), found.action].all()
    assert not found.result.visit_counts[~legal].any()


def test_traces_are_there_where_somebody_asked(vector: ServedModel):
    rng = np.random.default_rng(5)
    plain = query(vector, rng, 1)
    assert vector.search([plain])[0].result.trace is None
    [found] = vector.search([replace(plain, include=frozenset({"q"}))])
    assert found.result.trace is not None


def test_an_answer_tells_who_answered(vector: ServedModel):
    [found] = vector.search([query(vector, np.random.default_rng(6), 1)])
    assert found.model is vector


def drawn(model: ServedModel, seeds: np.ndarray, **given: Any) -> np.ndarray:
    """Actions for one observation, as often as there are seeds."""
    rng = np.random.default_rng(7)
    one = query(model, rng, 1)
    count = len(seeds)
    repeated = {
        "observations": np.repeat(one.observations, count, axis=0),
        "num_simulations": np.full(count, 12, np.int32),
        "seeds": seeds,
        "deterministic": False,
        "temperature": 5.0,
    }
    return model.search([replace(one, **repeated | given)])[0].action


def test_a_drawn_action_depends_on_its_own_seed_alone(pixel: ServedModel):
    seeds = np.arange(40, dtype=np.uint64) + np.uint64(2**63)
    actions = drawn(pixel, seeds)
    order = np.random.default_rng(8).permutation(40)[:17]
    np.testing.assert_array_equal(drawn(pixel, seeds[order]), actions[order])
    assert len(set(actions.tolist())) > 1


def test_seeds_that_differ_in_their_upper_half_draw_differently(pixel: ServedModel):
    seeds = np.arange(40, dtype=np.uint64) << np.uint64(32)
    assert len(set(drawn(pixel, seeds).tolist())) > 1


def test_actions_are_drawn_by_their_visits_and_the_temperature(pixel: ServedModel):
    seeds = np.arange(2000, dtype=np.uint64)
    one = query(pixel, np.random.default_rng(7), 1, num_simulations=np.array([12], np.int32))
    visits = pixel.search([replace(one, seeds=seeds[:1])])[0].result.visit_counts[0]
    assert visits.tolist() == [1, 11, 0]
    found = np.bincount(drawn(pixel, seeds, temperature=2.0), minlength=3) / 2000
    np.testing.assert_allclose(found, [1 / 4.317, 3.317 / 4.317, 0], atol=0.03)


@pytest.mark.parametrize("temperature", [1e-3, 1e-320])
def test_a_temperature_near_0_plays_the_most_visited(pixel: ServedModel, temperature: float):
    asked = query(pixel, np.random.default_rng(9), 50, deterministic=False, temperature=temperature)
    [found] = pixel.search([asked])
    counts = found.result.visit_counts
    np.testing.assert_array_equal(counts[np.arange(50), found.action], counts.max(axis=1))


def test_a_service_answers_as_the_agent_itself(
    started_service: Callable[..., Any], vector_agent: Path
):
    stacks = np.random.default_rng(10).normal(size=(20, 1, 4)).astype(np.float32)
    agent = Agent.load(vector_agent)
    zeros = np.zeros(20, np.uint64)

    async def scenario() -> list[int]:
        async with started_service() as service:
            requests = [ActRequest(observation=stack.tolist()) for stack in stacks]
            outcomes = await asyncio.gather(*(service.act("vector", r) for r in requests))
            return [int(outcome.answered.answer.action[0]) for outcome in outcomes]

    assert asyncio.run(scenario()) == agent.search(stacks, seeds=zeros).action.tolist()


def test_a_deterministic_request_plays_what_the_search_chose(pixel: ServedModel):
    asked = query(pixel, np.random.default_rng(11), 50)
    rules = {"seeds": asked.seeds, "num_simulations": asked.num_simulations}
    expected = pixel.agent.search(asked.observations, **rules)
    np.testing.assert_array_equal(pixel.search([asked])[0].action, expected.action)


def test_every_requests_seeds_reach_the_search(vector: ServedModel):
    queries, given = mixed(vector, seed=12), list[np.ndarray]()

    class Spy:
        card = vector.card

        def search(self, stacks: np.ndarray, **rules: Any) -> SearchResult:
            given.append(rules["seeds"])
            return vector.agent.search(stacks, **rules)

    spy: Any = Spy()
    replace(vector, agent=spy).search(queries)
    np.testing.assert_array_equal(given[0], np.concatenate([q.seeds for q in queries]))

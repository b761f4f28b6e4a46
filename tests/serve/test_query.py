"""What a request asks, checked against the model's space and limits."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Any

import numpy as np
import pytest

from serve.bodies import from_entries
from serve.errors import Unprocessable
from serve.query import Limits, as_stacks, make_query, plain_numbers, read_frames, shortened
from tests.serve.agents import PIXEL, VECTOR

LIMITS = Limits(default_simulations=8, max_simulations=50, max_observations=4)


def frames_of(card: Any = VECTOR, **fields: Any) -> np.ndarray:
    return read_frames(from_entries(fields), card)


def query_of(count: int | None = None, **fields: Any) -> Any:
    name = "observation" if count is None else "observations"
    request = from_entries({name: 0, **fields})
    stacks = np.zeros((count or 1, 1, 4), np.float32)
    return make_query(request, stacks, num_actions=3, limits=LIMITS)


def array(numbers: Any, dtype: str = "float32", **changes: Any) -> dict[str, Any]:
    given = np.array(numbers, dtype)
    data = base64.b64encode(given.tobytes()).decode()
    return {"data": data, "shape": list(given.shape), "dtype": dtype, **changes}


@pytest.mark.parametrize(
    "given",
    [
        "abc",
        ["a"],
        [1, "2"],
        [1, "2" * 1000],
        None,
        [None],
        [[1, 2], [3]],
        [[1, 2], 3],
        [1, [2]],
        [{}],
        [b"x"],
        True,
        [True, False, True, True],
        [True, 1],
        float("nan"),
        [1.0, float("inf"), 0, 0],
        [0, 0, 0, 1e39],
        [0, 0, 0, 2**64],
        [0, 0, 0, 10**400],
        [],
        [[]],
        [1, 2, 3],
        [[[[1, 2, 3, 4]]]],
        1,
        array([1, 2, 3]),
        array([np.nan] * 4),
        array([1, 2, 3, 4], data="AAA"),
        array([1, 2, 3, 4], data="A" * 10),
        array([1, 2, 3, 4], data="é"),
        array([1, 2, 3, 4], data=b"abc"),
        array([1, 2, 3, 4], shape=[5]),
        array([1, 2, 3, 4], dtype="float32", shape=[0, 2**31, 2**31, 2**31], data=""),
        array([1, 2, 3, 4], shape=[2**31] * 8),
    ],
)
@pytest.mark.parametrize("name", ["observation", "observations"])
def test_what_is_no_observation_is_told_with_what_was_expected(name: str, given: Any):
    if given is None:
        given = [[None]]
    with pytest.raises(Unprocessable, match=f"^{name} must ") as raised:
        as_stacks(frames_of(**{name: given}), VECTOR, batch=name == "observations")
    error = raised.value
    assert error.code == "invalid_observation"
    shape: list[Any] = [1, 4] if name == "observation" else ["n", 1, 4]
    assert error.details["expected"] == {"shape": shape, "dtype": "float32"}
    assert error.details["got"].keys() == {"shape", "dtype"}
    assert len(str(error)) < 400


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1, 2], 3], [[[1]], [[1, 2]]]])
def test_rows_of_different_lengths_are_told_as_such(rows: Any):
    with pytest.raises(Unprocessable, match="observation must have rows of equal length"):
        frames_of(observation=rows)


@pytest.mark.parametrize("numbers", [-1, 256, 0.5, 1.0, True, 2**70])
def test_pixels_are_integers_of_a_byte(numbers: Any):
    with pytest.raises(Unprocessable, match="^observation must") as raised:
        frames_of(PIXEL, observation=np.full((32, 32, 3), numbers, object).tolist())
    assert raised.value.code == "invalid_observation"


def test_floats_are_no_pixels():
    with pytest.raises(Unprocessable, match="must be uint8 of shape") as raised:
        frames_of(PIXEL, observation=array(np.zeros((32, 32, 3))))
    assert raised.value.details["got"] == {"shape": [32, 32, 3], "dtype": "float32"}


def test_lists_become_the_spaces_numbers():
    np.testing.assert_array_equal(
        frames_of(observation=[1, 0.1, -2, 2**60]),
        np.array([[1, 0.1, -2, 2**60]], np.float32),
        strict=True,
    )
    pixels = frames_of(PIXEL, observation=np.full((32, 32, 3), 255).tolist())
    np.testing.assert_array_equal(pixels, np.full((1, 32, 32, 3), 255, np.uint8), strict=True)


def test_bytes_of_small_integers_become_floats():
    got = frames_of(observation=array([1, 2, 3, 4], "uint8"))
    np.testing.assert_array_equal(got, np.array([[1, 2, 3, 4]], np.float32), strict=True)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [([1, -2], "int64"), ([1, 2**63], "uint64"), ([1, 0.5], "float64"), ([True], "bool")],
)
def test_lists_are_read_as_their_widest_number(given: Any, dtype: str):
    assert plain_numbers(given).dtype == dtype


def test_a_long_string_beside_many_numbers_takes_no_memory():
    tracemalloc.start()
    with pytest.raises(ValueError, match="must hold numbers, got int, str"):
        plain_numbers([0] * 10_000 + ["x" * 10_000])  # 400 MB as an array of strings
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


@pytest.mark.parametrize("fields", [{}, {"observation": [0] * 4, "observations": [[0] * 4]}])
def test_exactly_one_of_both_fields_is_needed(fields: Any):
    with pytest.raises(Unprocessable, match="exactly one of observation and observations"):
        frames_of(**fields)


def test_what_is_not_given_is_the_models_own():
    query = query_of(2)
    assert query.num_simulations.tolist() == [8, 8]
    assert query.seeds.tolist() == [0, 0]
    assert query.legal is None
    assert (query.deterministic, query.drawn_seed, query.is_batch) == (True, False, True)


def test_drawn_seeds_differ_and_fit_into_a_double():
    seeds = [query_of(3, deterministic=False).seeds.tolist() for _ in range(3)]
    assert len({s for row in seeds for s in row}) == 9
    assert max(map(max, seeds)) < 2**53 + 3


@pytest.mark.parametrize(
    ("count", "fields", "match"),
    [
        (None, {"simulations": 51}, r"simulations must be 1 \.\. 50, got 51"),
        (None, {"simulations": 10**5000}, r"simulations must be 1 \.\. 50, got an integer of more"),
        (2, {"simulations": [1]}, "simulations must hold one number for each of 2 .*, got 1"),
        (2, {"simulations": [1, 51]}, r"simulations must be 1 \.\. 50, got 51"),
        (2, {"simulations": []}, "simulations must hold one number for each of 2"),
        (2, {"seed": []}, "seed must hold one number for each of 2 observations, got 0"),
        (5, {}, "observations must hold at most 4, got 5 of them"),
        (None, {"legal_actions": []}, "legal_actions must allow at least one action"),
        (None, {"legal_actions": [3]}, r"legal_actions must be 0 \.\. 2, got 3"),
        (None, {"legal_actions": [10**5000]}, r"legal_actions must be 0 \.\. 2, got an integer"),
        (None, {"legal_actions": [[0]]}, "legal_actions must be a list of actions for observation"),
        (2, {"legal_actions": [0, 1]}, "legal_actions must be a list of actions for observation"),
        (2, {"legal_actions": [[0]]}, "legal_actions must hold a list for each of 2"),
        (2, {"legal_actions": [[0], []]}, "legal_actions must allow at least one action"),
        (1, {"legal_actions": []}, "legal_actions must allow at least one action"),
    ],
)
def test_a_number_out_of_range_is_told(count: int | None, fields: dict[str, Any], match: str):
    with pytest.raises(Unprocessable, match=match) as raised:
        query_of(count, **fields)
    assert raised.value.details["fields"][0] in ("observations", *fields)


def test_legal_actions_become_a_mask():
    query = query_of(2, legal_actions=[[2, 0], [1, 1]])
    assert query.legal.tolist() == [[True, False, True], [False, True, False]]
    assert query_of(legal_actions=[1]).legal.tolist() == [[False, True, False]]


def test_a_single_seed_and_budget_are_for_all():
    query = query_of(3, seed=2**64 - 1, simulations=5)
    assert query.seeds.tolist() == [2**64 - 1] * 3
    assert query.num_simulations.tolist() == [5, 5, 5]


def test_what_an_error_repeats_is_short():
    assert shortened("x" * 1000) == "x" * 80 + "..."
    assert shortened(-(10**9000)) == "an integer of more than 64 bits"
    assert shortened([1, 2]) == "[1, 2]"

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from rllib_ez.core.compiled import simd
from rllib_ez.core.compiled.simd import PANEL
from rllib_ez.core.scalar_transform import Support, unscale

FUNCTIONS = {
    "exp": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
UNTOUCHED = np.float32(-7.25)


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(x: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """start + x @ weight by `matmul`: x [M, K], weight [K, N], start [M, N]."""
    packed = simd.pack(weight)
    out = np.zeros((len(x), len(packed) * PANEL), np.float32)
    out[:, : weight.shape[1]] = start
    simd.matmul(x.ravel(), 0, x.shape[1], packed, out.ravel(), 0, out.shape[1], len(x))
    return out[:, : weight.shape[1]]


def chain(x: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The slow twin: each term exact in 64 bits of mantissa, rounded to f32 after each sum."""
    out = start.copy()
    wide = weight.astype(np.longdouble)
    for k in range(x.shape[1]):
        out = (out + x[:, k : k + 1].astype(np.longdouble) * wide[k]).astype(np.float32)
    return out


def applied(name: str, x: np.ndarray, start: int, count: int) -> np.ndarray:
    out = x.copy()
    getattr(simd, name)(out, start, count)
    return out


def test_packed_columns_stand_in_panels_and_the_rest_is_zero():
    weight = random(0, 3, PANEL + 2)
    packed = simd.pack(weight)
    np.testing.assert_array_equal(packed[0], weight[:, :PANEL])
    np.testing.assert_array_equal(packed[1, :, :2], weight[:, PANEL:])
    assert not packed[1, :, 2:].any()


def test_a_weight_without_rows_is_rejected():
    with pytest.raises(ValueError, match="at least one row"):
        simd.pack(np.zeros((0, 4), np.float32))


def test_matmul_adds_the_product_to_what_was_there():
    x, weight = np.array([[1, 2]], np.float32), np.array([[3, 4], [5, 6]], np.float32)
    np.testing.assert_array_equal(product(x, weight, np.array([[100, 200]])), [[113, 216]])


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="the twin needs wide numbers")
@pytest.mark.parametrize("rows", range(1, 14))
def test_each_element_is_one_chain_of_fused_sums_in_ascending_order(rows):
    x, weight, start = random(1, rows, 37), random(2, 37, PANEL + 5), random(3, rows, PANEL + 5)
    np.testing.assert_array_equal(product(x, weight, start), chain(x, weight, start))


def test_matmul_goes_by_start_and_stride_and_writes_nothing_else():
    x, packed = random(4, 50), simd.pack(random(5, 4, PANEL))
    out = np.full(3 + 7 * (PANEL + 2), UNTOUCHED)
    simd.matmul(x, 2, 6, packed, out, 3, PANEL + 2, 7)
    rows = np.stack([x[2 + 6 * r :][:4] for r in range(7)]).astype(np.float64)
    table = out[3:].reshape(7, PANEL + 2)
    np.testing.assert_allclose(table[:, :PANEL], rows @ packed[0] + UNTOUCHED, rtol=1e-5)
    assert (out[:3] == UNTOUCHED).all()
    assert (table[:, PANEL:] == UNTOUCHED).all()


def test_no_rows_are_no_work():
    out = np.full(PANEL, UNTOUCHED)
    simd.matmul(random(6, 4), 0, 4, simd.pack(random(7, 4, 3)), out, 0, PANEL, 0)
    assert (out == UNTOUCHED).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_exact_to_three_units_in_the_last_place(name):
    x = np.random.default_rng(8).uniform(-20, 20, 100_001).astype(np.float32)
    x[:20_000] *= 1e-3
    exact = FUNCTIONS[name](x.astype(np.float64))
    unit = np.spacing(np.abs(exact).astype(np.float32))
    assert (np.abs(applied(name, x, 0, len(x)) - exact) / unit).max() < 3


@pytest.mark.parametrize(
    ("name", "limits"),
    [("exp", [0, 0, 0, 1, np.inf]), ("sigmoid", [0, 0, 0, 0.5, 1]), ("tanh", [-1, -1, -1, 0, 1])],
)
def test_a_function_keeps_its_limits(name, limits):
    x = np.array([-np.inf, -1e30, -150, 0, 1e30, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(applied(name, x, 0, 7), [*limits, np.nan, limits[-1]])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bits_of_a_function_do_not_depend_on_the_place(name):
    x = random(9, 100) * 4
    whole = applied(name, x, 0, 100)
    for start in range(40):
        for count in (1, 7, 16, 33):
            np.testing.assert_array_equal(
                applied(name, x, start, count)[start : start + count], whole[start : start + count]
            )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_writes_its_range_only(name):
    x = random(10, 60)
    out = applied(name, x, 5, 37)
    np.testing.assert_array_equal(np.delete(out, range(5, 42)), np.delete(x, range(5, 42)))


@pytest.mark.parametrize("count", [1, 2, 15, 16, 18, 64, 601])
def test_softmax_equals_torch(count):
    logits = random(11, 5, count) * 5
    out = np.full((5, count + 3), UNTOUCHED)
    simd.softmax_rows(logits.ravel(), 0, count, count, out.ravel(), 1, count + 3, 5)
    expected = torch.softmax(torch.from_numpy(logits).double(), dim=1)
    np.testing.assert_allclose(out[:, 1 : count + 1], expected, rtol=2e-6, atol=1e-12)
    assert (np.delete(out, range(1, count + 1), axis=1) == UNTOUCHED).all()


def test_softmax_of_huge_logits_does_not_overflow():
    out = np.zeros(3, np.float32)
    simd.softmax(np.array([1e30, 1e30, -1e30], np.float32), 0, 3, out, 0)
    np.testing.assert_array_equal(out, [0.5, 0.5, 0])


@pytest.mark.parametrize(("limit", "bins"), [(300.0, 601), (20.0, 41), (1.0, 3)])
def test_expectation_equals_that_of_the_support(limit, bins):
    logits, out = random(12, 7, bins), np.zeros(7, np.float32)
    logits[np.arange(7), np.arange(7) * (bins // 7)] += 12
    simd.expectation_rows(logits.ravel(), 0, bins, bins, limit / (bins // 2), out, 7)
    expected = Support(limit, bins).expectation(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_the_expectation_of_one_certain_bin_is_its_value():
    logits = np.zeros(41, np.float32)
    logits[35] = 200.0
    expected = unscale(torch.tensor(7.5, dtype=torch.float64))  # 15 bins of 0.5 above the middle
    assert simd.expectation(logits, 0, 41, 0.5) == pytest.approx(float(expected), rel=1e-12)


def test_rows_of_softmax_and_expectation_do_not_depend_on_where_they_stand():
    logits = random(13, 9, 43)
    first, second = np.zeros((9, 43), np.float32), np.zeros((9, 43), np.float32)
    simd.softmax_rows(logits.ravel(), 0, 43, 43, first.ravel(), 0, 43, 9)
    simd.softmax_rows(logits[::-1].ravel(), 0, 43, 43, second.ravel(), 0, 43, 9)
    np.testing.assert_array_equal(first, second[::-1])
    there = simd.expectation(logits.ravel(), 4 * 43, 43, 0.5)
    assert simd.expectation(logits[4].copy(), 0, 43, 0.5) == there


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="a kind of x86 processor")
def test_a_processor_without_avx512_gets_narrow_panels_and_the_same_sums(tmp_path):
    code = (
        "import numpy as np; from rllib_ez.core.compiled import simd\n"
        "x = (np.arange(91) % 11 - 5).astype(np.float32).reshape(7, 13)\n"
        "w = (np.arange(260) % 7 - 3).astype(np.float32).reshape(13, 20)\n"
        "out = np.zeros((7, 32), np.float32)\n"
        "simd.matmul(x, 0, 13, simd.pack(w), out, 0, 32, 7)\n"
        "assert (out[:, :20] == x @ w).all(); simd.exp(out, 0, 3); print(simd.PANEL)"
    )
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    environment = {**os.environ, **settings, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "16"), run.stderr

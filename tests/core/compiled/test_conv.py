from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.compiled.conv import conv_work, convolve, grid_of, images, pack_convs
from rllib_ez.core.compiled.lanes import LANES

NOTHING = np.zeros(0, np.float32)


def direct(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The slow twin: [B, H, W, I] and [O, I, 3, 3] to [B, H, W, O], in f64."""
    batch, height, width, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((batch, height, width, len(weight))) + bias
    for dy in range(3):
        for dx in range(3):
            out += padded[:, dy : dy + height, dx : dx + width] @ weight[:, :, dy, dx].T
    return out


class Case:
    """Random images, filters and the room to convolve them."""

    def __init__(self, height: int, width: int, channels: int, batch: int, layers: int = 1) -> None:
        rng = np.random.default_rng(height * 100 + channels)
        self.grid = grid_of(height, width, channels)
        self.shape = (batch, height, width, channels)
        scale = (9 * channels) ** -0.5
        self.layers = [
            (rng.standard_normal((channels, channels, 3, 3)) * scale, rng.standard_normal(channels))
            for _ in range(layers)
        ]
        self.convs = pack_convs(self.layers, grid=self.grid)
        self.seen = rng.standard_normal(self.shape).astype(np.float32)
        self.added = rng.standard_normal(self.shape).astype(np.float32)

    def lay_out(self, pictures: np.ndarray) -> np.ndarray:
        """[B, H, W, C] as flat images."""
        out = images(self.grid, len(pictures))
        rows = out.reshape(len(pictures), self.grid.pixels + 2, self.grid.channels)
        rows[:, :-2, : self.shape[3]] = pictures.reshape(len(pictures), -1, self.shape[3])
        return out

    def pictures(self, flat: np.ndarray) -> np.ndarray:
        """Back to [B, H, W, C]."""
        rows = flat.reshape(-1, self.grid.pixels + 2, self.grid.channels)
        return rows[:, :-2, : self.shape[3]].reshape(-1, *self.shape[1:])

    def convolved(self, seen: np.ndarray, added: np.ndarray | None = None, layer: int = 0):
        """What `convolve` makes of them, [B, H, W, C]."""
        residual = NOTHING if added is None else self.lay_out(added)
        out, batch = images(self.grid, len(seen)), len(seen)
        work = conv_work(self.grid, batch)
        x = self.lay_out(seen)
        convolve(self.convs, layer, self.grid, x, residual, out, batch, work)
        return self.pictures(out)


SHAPES = [(8, 8, 64, 2), (6, 6, 64, 7), (1, 1, 2, 3), (2, 2, 70, 2), (3, 5, 16, 2), (7, 9, 33, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_direct_convolution(shape: tuple[int, int, int, int]):
    case = Case(*shape)
    expected = np.maximum(direct(case.seen, *case.layers[0]), 0)
    error = np.abs(case.convolved(case.seen) - expected).max() / np.abs(expected).max()
    assert error < 2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_residual_is_added_before_the_relu(shape: tuple[int, int, int, int]):
    case = Case(*shape)
    expected = np.maximum(direct(case.seen, *case.layers[0]) + case.added, 0)
    error = np.abs(case.convolved(case.seen, case.added) - expected).max() / expected.max()
    assert error < 2e-6


def test_a_filter_of_a_single_one_moves_the_image_and_lets_zeros_in():
    case = Case(2, 2, 1, 1)
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 1, 0] = 1.0  # looks to the left
    case.convs = pack_convs([(weight, np.array([0.5]))], grid=case.grid)
    seen = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 2, 2, 1)
    out = case.convolved(seen)[0, :, :, 0]
    np.testing.assert_allclose(out, [[0.5, 1.5], [0.5, 3.5]], rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8, 16, 13), (6, 6, 16, 13), (5, 4, 16, 13)])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(shape: tuple[int, int, int, int]):
    case = Case(*shape)
    whole = case.convolved(case.seen, case.added)
    for start, stop in ((0, 1), (4, 5), (3, 10), (12, 13)):
        part = case.convolved(case.seen[start:stop], case.added[start:stop])
        assert (part == whole[start:stop]).all()


def test_each_layer_has_its_own_filters():
    case = Case(4, 4, 16, 1, layers=3)
    for layer, (weight, bias) in enumerate(case.layers):
        expected = np.maximum(direct(case.seen, weight, bias), 0)
        out = case.convolved(case.seen, layer=layer)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_the_output_may_replace_the_input_or_the_residual():
    case = Case(5, 5, 16, 9)
    expected, work = case.convolved(case.seen, case.added), conv_work(case.grid, 9)
    x, residual = case.lay_out(case.seen), case.lay_out(case.added)
    convolve(case.convs, 0, case.grid, x, residual, residual, 9, work)
    assert (case.pictures(residual) == expected).all()
    again = case.lay_out(case.added)
    convolve(case.convs, 0, case.grid, x, again, x, 9, work)
    assert (case.pictures(x) == expected).all()


def test_what_lies_outside_an_image_stays_zero():
    case = Case(5, 7, 10, 3)
    x, work = case.lay_out(case.seen), conv_work(case.grid, 3)
    for _ in range(2):
        convolve(case.convs, 0, case.grid, x, NOTHING, x, 3, work)
    outside = x.reshape(3, 5 * 7 + 2, case.grid.channels)[:, -2]
    assert (outside == 0).all()


def test_rows_past_the_count_are_left_alone():
    case = Case(3, 3, 16, 4)
    x, out = case.lay_out(case.seen), case.lay_out(case.added)
    convolve(case.convs, 0, case.grid, x, NOTHING, out, 2, conv_work(case.grid, 4))
    assert (case.pictures(out)[2:] == case.added[2:]).all()


@pytest.mark.parametrize(("side", "size"), [(8, 4), (6, 3), (4, 4), (3, 3), (1, 3), (7, 4)])
def test_tiles_have_the_size_that_multiplies_least(side: int, size: int):
    assert grid_of(side, side, 64).size == size


def test_channels_fill_whole_vectors():
    assert grid_of(2, 2, LANES + 1).channels == 2 * LANES

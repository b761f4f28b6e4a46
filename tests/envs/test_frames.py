import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rllib_ez.envs.frames import frame_format
from rllib_ez.errors import EnvironmentSpecError


def test_an_array_of_numbers_becomes_a_flat_vector():
    frames = frame_format(Box(-1, 1, (2, 2), np.float64))
    assert frames.space == Box(-1, 1, (4,), np.float32)
    vector = frames.convert(np.array([[0.0, 0.25], [0.5, 1.0]]))
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, [0.0, 0.25, 0.5, 1.0])


def test_bytes_in_a_row_are_a_vector():
    assert frame_format(Box(0, 255, (128,), np.uint8)).space.shape == (128,)


def test_a_colour_picture_stays_as_it_is():
    picture = np.arange(20 * 16 * 3).reshape(20, 16, 3).astype(np.uint8)
    frames = frame_format(Box(0, 255, (20, 16, 3), np.uint8))
    assert frames.space == Box(0, 255, (20, 16, 3), np.uint8)
    np.testing.assert_array_equal(frames.convert(picture), picture)


def test_a_gray_picture_gets_one_channel():
    picture = np.arange(20 * 16).reshape(20, 16).astype(np.uint8)
    frames = frame_format(Box(0, 255, (20, 16), np.uint8))
    np.testing.assert_array_equal(frames.convert(picture)[:, :, 0], picture)


def test_a_small_symbolic_grid_is_a_vector():
    assert frame_format(Box(0, 10, (7, 7, 3), np.uint8)).space.shape == (147,)


def test_a_float_picture_in_unit_range_becomes_bytes():
    frames = frame_format(Box(0, 1, (16, 16, 1), np.float32))
    picture = np.full((16, 16, 1), 0.5, np.float32)
    picture[0, 0, 0] = 1.0
    converted = frames.convert(picture)
    assert converted.dtype == np.uint8
    assert (converted[0, 0, 0], converted[1, 1, 0]) == (255, 128)


def test_a_float_picture_outside_unit_range_is_refused():
    with pytest.raises(EnvironmentSpecError, match=r"bounds in \[0, 1\].*got -1.0..1.0"):
        frame_format(Box(-1, 1, (16, 16, 3), np.float32))


def test_a_float_picture_that_lies_about_its_range_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\] as its space says, got 200"):
        frame_format(Box(0, 1, (16, 16, 1), np.float32)).convert(np.full((16, 16, 1), 200.0))


def test_a_picture_that_is_no_bytes_is_refused():
    with pytest.raises(ValueError, match="must be uint8 as its space says, got float64"):
        frame_format(Box(0, 255, (16, 16, 1), np.uint8)).convert(np.zeros((16, 16, 1)))


@pytest.mark.parametrize("shape", [(3, 84, 84), (64, 84, 84)])
def test_channels_first_is_refused_with_advice(shape: tuple[int, ...]):
    with pytest.raises(EnvironmentSpecError, match="move the channels last"):
        frame_format(Box(0, 255, shape, np.uint8))


def test_an_observation_of_another_size_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        frame_format(Box(-1, 1, (3,))).convert(np.zeros(1))


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Dict({"a": Box(0, 1)}),
        gymnasium.spaces.Tuple([Box(0, 1)]),
        gymnasium.spaces.Discrete(4),
    ],
)
def test_structured_observations_are_refused_with_advice(space: gymnasium.Space):
    kind = type(space).__name__
    with pytest.raises(
        EnvironmentSpecError, match=f"not yet supported: {kind}.*FlattenObservation"
    ):
        frame_format(space)


def test_text_observations_are_refused_with_advice():
    with pytest.raises(EnvironmentSpecError, match="not yet supported: Text.*encode the text"):
        frame_format(gymnasium.spaces.Text(5))

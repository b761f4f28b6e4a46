"""What `import rllib_ez` offers."""

from __future__ import annotations

import pytest

import rllib_ez


def test_every_offered_name_is_listed():
    assert {"Agent", "EfficientZero", "EfficientZeroConfig"} <= set(dir(rllib_ez))


@pytest.mark.ray
@pytest.mark.parametrize("name", ["Agent", "EfficientZero", "EfficientZeroConfig"])
def test_an_offered_name_is_a_class_of_that_name(name: str):
    assert getattr(rllib_ez, name).__name__ == name


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'EfficientZeroo'"):
        _ = rllib_ez.EfficientZeroo

from __future__ import annotations

import pytest

from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.engines import blank_engine, make_engine, warm_up
from rllib_ez.core.inference import InferenceModel
from rllib_ez.errors import SettingError
from tests.core.test_networks import PIXEL, VECTOR, made


@pytest.mark.parametrize("config", [VECTOR, PIXEL], ids=["vector", "pixel"])
def test_on_a_cpu_searches_run_as_compiled_code(config):
    assert isinstance(blank_engine(config), CompiledModel)


def test_torch_can_be_asked_for():
    assert isinstance(blank_engine(VECTOR, engine="torch"), InferenceModel)


def test_an_engine_keeps_its_weights_in_the_network_it_was_made_from():
    network = made(VECTOR)
    assert make_engine(network).network is network


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match="one of auto, compiled, torch, got 'magic'"):
        blank_engine(VECTOR, engine="magic")


def test_compiled_code_is_refused_on_a_gpu():
    with pytest.raises(SettingError, match="must run on a CPU, got inference_device 'cuda'"):
        make_engine(made(VECTOR), device="cuda", engine="compiled")


@pytest.mark.parametrize("config", [VECTOR, PIXEL], ids=["vector", "pixel"])
def test_warming_up_needs_no_weights(config):
    warm_up(config)

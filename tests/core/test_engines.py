from __future__ import annotations

import pytest

from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.engines import blank_engine, fastest_on, make_engine, warm_up
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
    with pytest.raises(SettingError, match="one of auto, compiled, cuda, torch, got 'magic'"):
        blank_engine(VECTOR, engine="magic")


@pytest.mark.parametrize(("engine", "device"), [("compiled", "cuda"), ("cuda", "cpu")])
def test_an_engine_is_refused_on_a_device_that_it_is_not_for(engine: str, device: str):
    with pytest.raises(SettingError, match=f"must run on .*, got inference_device '{device}'"):
        make_engine(made(VECTOR), device=device, engine=engine)


@pytest.mark.parametrize("config", [VECTOR, PIXEL], ids=["vector", "pixel"])
def test_warming_up_needs_no_weights(config):
    warm_up(config)


def test_a_gpu_that_numba_does_not_see_is_used_through_torch_with_a_warning(monkeypatch):
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    with pytest.warns(UserWarning, match="numba.cuda must see the GPU for fast searches"):
        assert fastest_on("cuda") == "torch"


def test_other_devices_run_torch():
    assert fastest_on("mps") == "torch"

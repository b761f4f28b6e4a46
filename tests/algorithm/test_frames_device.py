"""Where frames are gathered; the GPU here is a pretended one."""

from __future__ import annotations

import pytest
import torch

from rllib_ez.algorithm.config import EfficientZeroConfig
from rllib_ez.algorithm.memory import frames_device
from rllib_ez.errors import MemoryBudgetError, SettingError

GIB = 2**30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 GiB free of 16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * GIB, 16 * GIB))


def on_gpu(**settings: object) -> EfficientZeroConfig:
    config = EfficientZeroConfig().environment("CartPole-v1")
    return config.training(**{"num_gpus_per_learner": 1, **settings})


def test_frames_that_fit_are_kept_on_the_gpu(gpu):
    assert frames_device(on_gpu(), 5 * GIB) == torch.device("cuda")


def test_frames_that_do_not_fit_stay_on_the_host(gpu):
    assert frames_device(on_gpu(), 5 * GIB + 1) is None


def test_frames_that_must_be_on_the_gpu_and_do_not_fit_are_refused(gpu):
    with pytest.raises(MemoryBudgetError, match="at most 50% .* got 6.00 of 10.00 GiB"):
        frames_device(on_gpu(frames_device="cuda"), 6 * GIB)


def test_frames_stay_on_the_host_if_one_says_so(gpu):
    assert frames_device(on_gpu(frames_device="cpu"), 1) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"num_gpus_per_learner": 0},
        {"num_learners": 1},
        {"num_replay_shards": 1},
        {"num_reanalyse_actors": 1},
        {"inference_device": "cpu"},
    ],
)
def test_frames_stay_on_the_host_where_not_all_share_the_gpu(gpu, settings):
    (name,) = settings
    assert frames_device(on_gpu(**settings), 1) is None
    with pytest.raises(SettingError, match=f"got 'cuda': {name}"):
        frames_device(on_gpu(frames_device="cuda", **settings), 1)


def test_without_a_gpu_frames_stay_on_the_host():
    assert frames_device(EfficientZeroConfig().environment("CartPole-v1"), 1) is None


def test_an_unknown_device_of_frames_is_refused():
    with pytest.raises(SettingError, match="frames_device must be .* got 'tpu'"):
        on_gpu(frames_device="tpu").validate()

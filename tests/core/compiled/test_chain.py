from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.compiled.chain import run_chain
from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks import EfficientZeroModel

BATCH, STEPS = 5, 4


@pytest.fixture
def model() -> CompiledModel:
    torch.manual_seed(0)
    return CompiledModel(EfficientZeroModel(ModelConfig(num_actions=3, hidden_size=8, lstm_size=4)))


@pytest.fixture
def latent(model: CompiledModel) -> np.ndarray:
    rng = np.random.default_rng(0)
    return model.root(rng.standard_normal((BATCH, 1, 4), dtype=np.float32)).latent.numpy()


def test_a_chain_ends_where_as_many_steps_of_torch_end(model: CompiledModel, latent: np.ndarray):
    there, memory = torch.from_numpy(latent), torch.zeros(2, BATCH, model.memory_size)
    for node in range(1, STEPS + 1):
        out = model.reference.step(there, memory, (torch.arange(BATCH) + node) % 3)
        there, memory = out.latent, out.memory
    np.testing.assert_allclose(run_chain(model, latent, STEPS), there, rtol=1e-4, atol=1e-5)


def test_threads_change_nothing(
    model: CompiledModel, latent: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    one = run_chain(model, latent, STEPS)
    monkeypatch.setattr("rllib_ez.core.compiled.model.WORTH_A_THREAD", 1.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert run_chain(model, latent, STEPS).tobytes() == one.tobytes()

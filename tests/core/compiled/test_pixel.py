from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rllib_ez.core.compiled import pixel
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search.tree import Answer, Edge
from rllib_ez.errors import SettingError

SMALL = ModelConfig(
    network="pixel", frame_shape=(40, 56, 1), downsampling=8, num_actions=3, latent_channels=10,
    head_channels=5, head_hidden_size=7, lstm_size=13, value_bins=41, value_prefix_bins=7,
    num_blocks=2, projection_size=8,
)  # fmt: skip
SQUARE = replace(SMALL, frame_shape=(32, 32, 3), frame_stack=2, num_blocks=1, lstm_size=16)
MIXED = replace(SMALL, frame_shape=(96, 96, 1), downsampling=16, num_blocks=1, latent_channels=16)
PAPER = ModelConfig(
    network="pixel", frame_shape=(64, 64, 3), frame_stack=4, downsampling=8, num_actions=6,
    lstm_size=512, value_bins=101, value_prefix_bins=101, projection_size=8,
)  # fmt: skip
TINY = replace(MIXED, frame_shape=(8, 7, 3))
ONE_HOT = replace(SQUARE, action_encoding="one_hot")
CONFIGS = [SMALL, SQUARE, MIXED, TINY, PAPER, ONE_HOT]
NODE = 4  # that steps write; parents are below


def restless(config: ModelConfig) -> EfficientZeroModel:
    """No weight is 0 and every batch norm has seen something: inputs reach every output."""
    torch.manual_seed(0)
    network = EfficientZeroModel(config).eval()
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif name.endswith("weight"):  # of a norm
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=0.2)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.3)
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return network


class Case:
    """A network in both forms, and a store of which nodes 0 .. NODE - 1 hold something."""

    def __init__(self, config: ModelConfig, batch: int, *, seed: int = 0) -> None:
        self.config, self.batch = config, batch
        self.network = restless(config)
        self.net = pixel.pack_network(self.network)
        self.work = pixel.make_work(self.net, batch)
        rng = np.random.default_rng(seed)
        channels, height, width = self.network.trunk.latent_shape
        size = channels * height * width
        self.store = Store.make(batch, NODE + 1, latent=size, memory=config.lstm_size)
        self.store.latent[:, :NODE] = np.maximum(rng.standard_normal((batch, NODE, size)), 0)
        self.store.memory[:, :NODE] = rng.standard_normal((batch, NODE, 2 * config.lstm_size)) / 2
        parent = rng.integers(NODE, size=batch).astype(np.int32)
        action = rng.integers(config.num_actions, size=batch)
        self.edge = Edge(parent, action, rng.random(batch) < 0.4)
        shape = (batch, config.frame_stack, *config.frame_shape)
        self.observation = rng.integers(256, size=shape).astype(np.uint8)

    def stepped(self) -> dict[str, np.ndarray]:
        """What the compiled step says of all rows."""
        answer = Answer.blank(self.batch, self.config.num_actions)
        pixel.step(self.net, self.work, self.store, NODE, self.batch, self.edge, answer)
        kept = {"latent": self.store.latent[:, NODE], "memory": self.store.memory[:, NODE]}
        return {**kept, **answer._asdict()}

    def expected_step(self) -> dict[str, np.ndarray]:
        """What the torch network says."""
        rows, edge = np.arange(self.batch), self.edge
        memory = self.store.memory[rows, edge.parent] * ~edge.forget[:, None]
        halves = np.stack(np.split(memory, 2, axis=1))
        latent = self._channels_first(self.store.latent[rows, edge.parent])
        action = torch.from_numpy(edge.action)
        out = InferenceModel(self.network).step(latent, torch.from_numpy(halves), action)
        memory = np.concatenate(list(out.memory.numpy()), axis=1)
        answers = {"prior": out.prior, "value_prefix": out.value_prefix, "value": out.value}
        return {"latent": self._channels_last(out.latent), "memory": memory, **answers}

    def looked(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        """What the compiled root says."""
        answer = Answer.blank(self.batch, self.config.num_actions)
        pixel.root(self.net, self.work, observation, len(observation), self.store, answer)
        return {"latent": self.store.latent[:, 0], **answer._asdict()}

    def _channels_first(self, latent: np.ndarray) -> torch.Tensor:
        channels, height, width = self.network.trunk.latent_shape
        images = latent.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(images))

    def _channels_last(self, latent: torch.Tensor) -> np.ndarray:
        return latent.permute(0, 2, 3, 1).flatten(1).numpy()


def copied(said: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: numbers.copy() for name, numbers in said.items()}


def rows_of(case: Case, rows: list[int]) -> Any:
    """A case of some of the rows, in this order."""
    part = Case(case.config, len(rows))
    part.store.latent[:] = case.store.latent[rows]
    part.store.memory[:] = case.store.memory[rows]
    part.edge = Edge(*(numbers[rows] for numbers in case.edge))
    part.observation = case.observation[rows]
    return part


@pytest.mark.parametrize("config", CONFIGS)
def test_a_step_equals_the_torch_networks(config: ModelConfig):
    case = Case(config, 7)
    said, expected = case.stepped(), case.expected_step()
    for name, numbers in expected.items():
        scale = np.abs(numbers).max()
        np.testing.assert_allclose(said[name], numbers, rtol=2e-5, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_step_of_one_row_equals_the_torch_networks(config: ModelConfig):
    for forget in (False, True):
        case = Case(config, 1)
        case.edge.forget[:] = forget
        said, expected = case.stepped(), case.expected_step()
        for name, numbers in expected.items():
            np.testing.assert_allclose(said[name], numbers, rtol=2e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_root_equals_the_torch_networks(config: ModelConfig, dtype: type):
    case = Case(config, 6)
    said = case.looked(case.observation.astype(dtype))
    expected = InferenceModel(case.network).root(case.observation)
    latent = case._channels_last(expected.latent)
    np.testing.assert_allclose(said["latent"], latent, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(said["prior"], expected.prior, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(said["value"], expected.value, rtol=2e-5, atol=1e-4)


def test_a_root_remembers_nothing_and_has_summed_no_reward():
    case = Case(SMALL, 3)
    said = case.looked(case.observation)
    assert (case.store.memory[:, 0] == 0).all()
    assert (said["value_prefix"] == 0).all()


@pytest.mark.parametrize("config", [SMALL, PAPER])
def test_a_step_has_the_same_bits_alone_and_in_any_batch(config: ModelConfig):
    whole = Case(config, 13)
    said = whole.stepped()
    for rows in ([0], [12], [5, 2], [3, 4, 5, 6, 7, 8, 9], list(range(13))[::-1]):
        part = rows_of(whole, rows).stepped()
        for name, numbers in said.items():
            assert (part[name] == numbers[rows]).all(), (name, rows)


@pytest.mark.parametrize("config", [SMALL, PAPER])
def test_a_root_has_the_same_bits_alone_and_in_any_batch(config: ModelConfig):
    whole = Case(config, 6)
    said = whole.looked(whole.observation)
    for rows in ([0], [5], [4, 1, 3]):
        part = rows_of(whole, rows)
        for name, numbers in part.looked(part.observation).items():
            assert (numbers == said[name][rows]).all(), (name, rows)


def test_scratch_carries_nothing_from_one_call_to_the_next():
    case = Case(SMALL, 5)
    first = copied(case.stepped())
    case.looked(case.observation[::-1].copy())
    other = Case(SMALL, 5, seed=1)
    other.work = case.work
    other.stepped()
    case.store.latent[:] = Case(SMALL, 5).store.latent
    case.store.memory[:] = Case(SMALL, 5).store.memory
    again = case.stepped()
    for name, numbers in first.items():
        assert (again[name] == numbers).all(), name


def test_a_memory_that_is_forgotten_may_hold_anything():
    case = Case(SMALL, 4)
    case.edge.forget[:] = True
    expected = copied(case.stepped())
    case.store.memory[:, :NODE] = np.nan
    said = case.stepped()
    assert all((said[name] == numbers).all() for name, numbers in expected.items())


def test_rows_past_the_count_are_left_alone():
    case = Case(SMALL, 5)
    answer = Answer.blank(5, 3)
    pixel.step(case.net, case.work, case.store, NODE, 2, case.edge, answer)
    assert (case.store.latent[2:, NODE] == 0).all()
    assert (case.store.memory[2:, NODE] == 0).all()
    assert (answer.prior[2:] == 0).all()


def test_a_step_writes_its_node_only():
    case = Case(SMALL, 3)
    before = case.store.latent[:, :NODE].copy(), case.store.memory[:, :NODE].copy()
    case.stepped()
    assert (case.store.latent[:, :NODE] == before[0]).all()
    assert (case.store.memory[:, :NODE] == before[1]).all()


def test_later_training_does_not_reach_packed_weights():
    case = Case(SMALL, 2)
    expected = copied(case.stepped())
    with torch.no_grad():
        for tensor in (*case.network.parameters(), *case.network.buffers()):
            tensor.mul_(2)
    said = case.stepped()
    assert all((said[name] == numbers).all() for name, numbers in expected.items())


def test_a_vector_network_is_refused():
    network = EfficientZeroModel(ModelConfig())
    with pytest.raises(SettingError, match="network must be 'pixel' to be compiled as one"):
        pixel.pack_network(network)

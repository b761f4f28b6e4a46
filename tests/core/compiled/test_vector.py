import numpy as np
import pytest
import torch

from rllib_ez.core.compiled import vector
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search.tree import Answer, Edge
from rllib_ez.errors import SettingError

SMALL = {"hidden_size": 33, "lstm_size": 17, "num_actions": 5, "value_bins": 41}
SHAPES = [
    {},
    SMALL | {"head_hidden_size": 7, "value_prefix_bins": 3, "value_range": 20.0},
    {"hidden_size": 128, "lstm_size": 128, "num_actions": 18, "value_bins": 601},
    {"num_actions": 1, "lstm_size": 5},
    {"hidden_size": 2, "lstm_size": 1, "value_bins": 3, "frame_shape": (3,)},
]
NODES = 4


def lively(**settings) -> EfficientZeroModel:
    """A network whose heads and norms say something; new ones start at 0."""
    torch.manual_seed(0)
    network = EfficientZeroModel(ModelConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.2 if parameter.ndim == 1 else 0.5 / parameter.shape[-1] ** 0.5
            parameter.add_(torch.randn_like(parameter) * scale)
    return network


class Case:
    """A network, compiled and not, with trees of random latents and memories."""

    def __init__(self, batch: int, **settings) -> None:
        self.network, rng = lively(**settings), np.random.default_rng(1)
        config = self.network.config
        self.twin = InferenceModel(self.network)
        self.net = vector.pack_network(self.network)
        self.memory_size, latent = config.lstm_size, config.hidden_size
        self.store = Store.make(batch, NODES, latent=latent, memory=self.memory_size)
        self.store.latent[:] = rng.standard_normal(self.store.latent.shape)
        self.store.memory[:] = rng.standard_normal(self.store.memory.shape)
        self.edge, self.answer = Edge.blank(batch), Answer.blank(batch, config.num_actions)
        self.edge.parent[:] = rng.integers(NODES - 1, size=batch)
        self.edge.action[:] = rng.integers(config.num_actions, size=batch)
        self.edge.forget[:] = rng.random(batch) < 0.4

    def work(self, count: int) -> vector.VectorWork:
        """Scratch as another search may have left it: nothing of it may be read."""
        work = vector.make_work(self.net, count)
        slots = (work.slots.recalled, work.slots.gates)
        for array in (work.latent, *slots, work.narrow, work.other, work.logits):
            array.fill(np.nan)
        return work

    def step(self, count: int) -> None:
        work = self.work(count)
        vector.step(self.net, work, self.store, NODES - 1, count, self.edge, self.answer)

    def expected(self):
        """What torch says of the edges."""
        rows = np.arange(len(self.edge.parent))
        latent = torch.from_numpy(self.store.latent[rows, self.edge.parent])
        memory = self.store.memory[rows, self.edge.parent] * ~self.edge.forget[:, None]
        parts = np.stack(np.split(memory, 2, axis=1))  # h and c
        return self.twin.step(latent, torch.from_numpy(parts), torch.from_numpy(self.edge.action))

    def rows(self) -> list[np.ndarray]:
        """Everything a step writes, by row."""
        return [self.store.latent[:, -1], self.store.memory[:, -1], *self.answer]

    def pick(self, order: np.ndarray) -> "Case":
        """The same trees in another order."""
        other = object.__new__(Case)
        other.net = self.net
        for name in ("store", "edge", "answer"):
            fields = getattr(self, name)
            setattr(other, name, type(fields)(*(array[order].copy() for array in fields)))
        return other


def close(actual: np.ndarray, expected) -> None:
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("settings", SHAPES)
def test_a_step_equals_torchs(settings, batch):
    case = Case(batch, **settings)
    expected = case.expected()
    case.step(batch)
    close(case.store.latent[:, -1], expected.latent)
    close(case.store.memory[:, -1], torch.cat(tuple(expected.memory), dim=1))
    close(case.answer.prior, expected.prior)
    close(case.answer.value_prefix, expected.value_prefix)
    close(case.answer.value, expected.value)


@pytest.mark.parametrize(
    "settings", [*SHAPES, {"frame_stack": 3}, {"observation_scale": (2.0, -0.5, 0.1, 1.0)}]
)
def test_a_root_equals_torchs(settings):
    case = Case(5, **settings)
    config = case.network.config
    shape = (5, config.frame_stack, *config.frame_shape)
    observation = np.random.default_rng(2).standard_normal(shape).astype(np.float32) * 5
    expected = case.twin.root(observation)
    work, flat = case.work(5), observation.reshape(5, -1)
    vector.root(case.net, work, flat, 5, case.store, case.answer)
    close(case.store.latent[:, 0], expected.latent)
    close(case.answer.prior, expected.prior)
    close(case.answer.value, expected.value)
    assert not case.store.memory[:, 0].any()


def test_scaled_and_stacked_frames_are_scaled_each():
    case = Case(2, observation_scale=(2.0, 3.0), frame_shape=(2,), frame_stack=2)
    observation = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    flat = observation.reshape(2, 4)
    vector.root(case.net, case.work(2), flat, 2, case.store, case.answer)
    close(case.store.latent[:, 0], case.twin.root(observation).latent)


def test_a_row_does_not_depend_on_the_order_of_rows_to_the_bit():
    case, order = Case(13, **SMALL), np.random.default_rng(3).permutation(13)
    other = case.pick(order)
    case.step(13)
    other.step(13)
    for ours, theirs in zip(case.rows(), other.rows(), strict=True):
        np.testing.assert_array_equal(ours[order], theirs)


@pytest.mark.parametrize("row", range(13))
def test_a_row_alone_is_the_row_of_a_batch_to_the_bit(row):
    case = Case(13, **SMALL)
    alone = case.pick(np.array([row]))
    case.step(13)
    alone.step(1)
    for ours, theirs in zip(case.rows(), alone.rows(), strict=True):
        np.testing.assert_array_equal(ours[row], theirs[0])


def test_a_step_writes_its_node_and_its_rows_only():
    case = Case(6, **SMALL)
    before = case.pick(np.arange(6))
    case.step(4)
    for ours, theirs in zip(case.store, before.store, strict=True):
        np.testing.assert_array_equal(ours[:, :-1], theirs[:, :-1])
    for ours, theirs in zip(case.rows(), before.rows(), strict=True):
        np.testing.assert_array_equal(ours[4:], theirs[4:])


def test_what_is_forgotten_has_no_influence_even_if_it_is_no_number():
    case = Case(6, **SMALL)
    case.edge.forget[:] = True
    other = case.pick(np.arange(6))
    other.store.memory[:] = np.nan
    case.step(6)
    other.step(6)
    for ours, theirs in zip(case.rows(), other.rows(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_does_not_reach_a_packed_network():
    case = Case(3, **SMALL)
    other = case.pick(np.arange(3))
    case.step(3)
    with torch.no_grad():
        for parameter in case.network.parameters():
            parameter.mul_(2)
    other.step(3)
    np.testing.assert_array_equal(case.answer.value, other.answer.value)


def test_a_pixel_network_is_refused():
    network = EfficientZeroModel(ModelConfig(network="pixel", frame_shape=(32, 32, 3)))
    with pytest.raises(SettingError, match="network must be 'vector'"):
        vector.pack_network(network)

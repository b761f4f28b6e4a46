from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.reanalyse import Reanalyser
from rllib_ez.core.types import FreshTargets, PositionBatch
from tests.core.episodes import NUM_ACTIONS

MODEL = ModelConfig(
    frame_shape=(1,), frame_stack=2, num_actions=NUM_ACTIONS, hidden_size=8, lstm_size=4
)


def restless_weights(seed: int) -> dict[str, torch.Tensor]:
    """A network whose heads are not 0."""
    torch.manual_seed(seed)
    network = EfficientZeroModel(MODEL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.inference_state_dict()


def reanalyser(*, seed: int = 0, version: int = 0, root_noise: bool = True) -> Reanalyser:
    made = Reanalyser(MODEL, SearchConfig(num_simulations=8), seed=seed, root_noise=root_noise)
    made.set_weights(restless_weights(1), version=version)
    return made


FRAMES = np.linspace(-2, 2, 7, dtype=np.float32).reshape(7, 1)
SIX = PositionBatch(
    frames=FRAMES,
    stack=np.stack((np.arange(6), np.arange(1, 7)), axis=1),
    position=100 + np.arange(6),
)


def rows(index: list[int]) -> PositionBatch:
    """Some of the six, in this order."""
    return PositionBatch(frames=FRAMES, stack=SIX.stack[index], position=SIX.position[index])


def assert_same(one: FreshTargets, other: FreshTargets, index: list[int] | None = None) -> None:
    """Bit for bit, `one` beside the rows `index` of the other."""
    for name in ("policy", "root_value", "network_value"):
        expected = getattr(other, name)
        expected = expected if index is None else expected[index]
        np.testing.assert_array_equal(getattr(one, name), expected, err_msg=name, strict=True)


def test_an_observation_is_its_stack_of_frames():
    batch = PositionBatch(frames=FRAMES, stack=np.array([[4, 6], [0, 0]]), position=np.arange(2))
    assert batch.observations()[:, :, 0].tolist() == [[FRAMES[4], FRAMES[6]], [FRAMES[0]] * 2]


def test_targets_are_a_row_for_each_position():
    targets = reanalyser().compute(SIX)
    assert (targets.policy.shape, targets.policy.dtype) == ((6, NUM_ACTIONS), np.float32)
    np.testing.assert_allclose(targets.policy.sum(1), 1, rtol=1e-6)
    for values in (targets.root_value, targets.network_value):
        assert (values.shape, values.dtype) == ((6,), np.float32)
        assert len(np.unique(values)) == 6


def test_a_target_is_a_function_of_position_version_and_seed():
    assert_same(reanalyser().compute(SIX), reanalyser().compute(SIX))


def test_a_target_does_not_depend_on_its_company_or_on_what_came_before():
    whole, made = reanalyser().compute(SIX), reanalyser()
    made.compute(rows([0, 1, 2]))
    assert_same(made.compute(rows([5, 2])), whole, [5, 2])


def test_a_target_does_not_depend_on_how_its_frames_travelled():
    one = PositionBatch(frames=FRAMES[[3, 4]], stack=np.array([[0, 1]]), position=SIX.position[[3]])
    assert_same(reanalyser().compute(one), reanalyser().compute(SIX), [3])


@pytest.mark.parametrize("change", ["position", "version", "seed"])
def test_position_version_and_seed_each_move_the_noise(change: str):
    first = reanalyser().compute(SIX)
    made = reanalyser(version=int(change == "version"), seed=int(change == "seed"))
    moved = PositionBatch(
        frames=FRAMES, stack=SIX.stack, position=SIX.position + int(change == "position")
    )
    assert not np.array_equal(first.policy, made.compute(moved).policy)


def test_without_noise_only_the_network_and_the_frames_count():
    made = reanalyser(version=3, seed=4, root_noise=False)
    moved = PositionBatch(frames=FRAMES, stack=SIX.stack, position=SIX.position + 9)
    assert_same(made.compute(moved), reanalyser(root_noise=False).compute(SIX))


def test_a_new_target_network_changes_the_targets():
    made = reanalyser(root_noise=False)
    first = made.compute(SIX)
    made.set_weights(restless_weights(2), version=1)
    assert not np.allclose(made.compute(SIX).network_value, first.network_value)


def test_the_target_network_is_a_copy():
    made, weights = reanalyser(root_noise=False), restless_weights(2)
    made.set_weights(weights, version=1)
    first = made.compute(SIX)
    for tensor in weights.values():
        tensor.zero_()
    assert_same(first, made.compute(SIX))


def test_computing_before_weights_is_refused():
    made = Reanalyser(MODEL, SearchConfig(), seed=0, root_noise=False)
    with pytest.raises(RuntimeError, match="set_weights must be called before compute"):
        made.compute(SIX)


def test_making_a_reanalyser_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Reanalyser(MODEL, SearchConfig(), seed=0, root_noise=False)
    assert torch.equal(torch.rand(1), expected)

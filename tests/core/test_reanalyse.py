from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.reanalyse import Reanalyser, TargetCache
from tests.core.episodes import NUM_ACTIONS, FrameReader, make_replay, random_episode

MODEL = ModelConfig(frame_shape=(1,), num_actions=NUM_ACTIONS, hidden_size=8, lstm_size=4)


def cache_of(
    reader: FrameReader | Reanalyser, *, steps: int = 12, capacity: int = 64
) -> TargetCache:
    replay = make_replay(capacity=capacity)
    episode = random_episode(np.random.default_rng(0), 0, steps=steps, end="terminated")
    replay.add(episode.segments([]))
    return TargetCache(replay, reader, num_actions=NUM_ACTIONS)


def restless_weights(seed: int) -> dict[str, torch.Tensor]:
    """A network whose heads are not 0."""
    torch.manual_seed(seed)
    network = EfficientZeroModel(MODEL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.inference_state_dict()


def reanalyser(*, seed: int = 0, version: int = 0, root_noise: bool = True) -> Reanalyser:
    made = Reanalyser(
        MODEL,
        SearchConfig(num_simulations=8),
        seed=seed,
        max_batch=5,
        root_noise=root_noise,
    )
    made.set_weights(restless_weights(1), version=version)
    return made


def test_each_position_is_computed_once_per_version():
    reader = FrameReader()
    cache = cache_of(reader)
    cache.refresh(np.array([3, 1, 3, 3]))
    cache.refresh(np.array([1, 3, 5]))
    assert [seen.tolist() for seen in reader.seen] == [[1, 3], [5]]
    assert (cache.num_asked, cache.num_computed) == (5, 3)


def test_a_new_version_is_computed_anew():
    reader = FrameReader()
    cache = cache_of(reader)
    cache.refresh(np.array([3]))
    reader.version = 7
    cache.refresh(np.array([3]))
    assert cache.value("search")[3] == 3.5 + 7
    assert len(reader.seen) == 2


def test_large_requests_come_in_batches():
    reader = FrameReader(max_batch=5)
    cache_of(reader).refresh(np.arange(12))
    assert [len(seen) for seen in reader.seen] == [5, 5, 2]


def test_values_by_search_and_by_network_are_kept_apart():
    cache = cache_of(FrameReader())
    cache.refresh(np.array([2]))
    assert (cache.value("search")[2], cache.value("network")[2]) == (2.5, -2.5)
    assert cache.policy[2].tolist() == [0, 0, 1]


def test_an_overwritten_slot_is_computed_anew():
    reader = FrameReader()
    cache = cache_of(reader, steps=7, capacity=8)  # 7 steps and the final observation: full
    cache.refresh(np.array([1, 2]))
    newer = random_episode(np.random.default_rng(1), 1, steps=2, end="")
    cache.replay.add(newer.segments([]))  # over slots 0 and 1
    cache.refresh(np.array([1, 2]))
    assert [seen.tolist() for seen in reader.seen] == [[1, 2], [1001]]
    assert cache.value("search")[1] == 1.5


def test_positions_of_one_slot_over_time_have_different_numbers():
    reader = FrameReader()
    cache = cache_of(reader, steps=7, capacity=8)
    cache.refresh(np.arange(8))
    for id in (1, 2):
        newer = random_episode(np.random.default_rng(id), id, steps=7, end="terminated")
        cache.replay.add(newer.segments([]))
        cache.refresh(np.arange(8))
    assert len(np.unique(np.concatenate(reader.positions))) == 24


def test_state_comes_back_and_nothing_is_computed_again():
    reader = FrameReader()
    cache = cache_of(reader)
    cache.refresh(np.array([1, 4]))
    other = cache_of(FrameReader())
    other.refresh(np.array([9]))  # is forgotten
    other.set_state(cache.get_state())
    other.refresh(np.array([1, 4]))
    assert other.reanalyser.seen[1:] == []
    np.testing.assert_array_equal(other.policy[[1, 4]], cache.policy[[1, 4]])
    assert (other.num_asked, other.num_computed) == (4, 2)
    other.refresh(np.array([9]))
    assert other.reanalyser.seen[1].tolist() == [9]


def test_state_is_a_copy():
    cache = cache_of(FrameReader())
    cache.refresh(np.array([1]))
    state = cache.get_state()
    cache.root_value[1] = 99
    assert state["root_value"].tolist() == [1.5]


def test_bytes_per_position_are_those_of_the_arrays():
    cache = cache_of(FrameReader())
    arrays = [value for value in vars(cache).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == 64 * TargetCache.bytes_per_position(3)


OBSERVATIONS = np.linspace(-2, 2, 6, dtype=np.float32).reshape(6, 1, 1)
POSITIONS = np.arange(6) + 100


def assert_same(one, other) -> None:
    np.testing.assert_array_equal(one.policy, other.policy)
    np.testing.assert_allclose(one.root_value, other.root_value, rtol=1e-5)
    np.testing.assert_allclose(one.network_value, other.network_value, rtol=1e-5)


def test_a_target_is_a_function_of_position_version_and_seed():
    first = reanalyser().compute(OBSERVATIONS, POSITIONS)
    assert_same(first, reanalyser().compute(OBSERVATIONS, POSITIONS))


def test_a_target_does_not_depend_on_its_company_or_on_what_came_before():
    whole = reanalyser().compute(OBSERVATIONS, POSITIONS)
    made = reanalyser()
    made.compute(OBSERVATIONS[:3], POSITIONS[:3])
    order = np.array([5, 2])
    part = made.compute(OBSERVATIONS[order], POSITIONS[order])
    np.testing.assert_array_equal(part.policy, whole.policy[order])
    np.testing.assert_allclose(part.root_value, whole.root_value[order], rtol=1e-5)


@pytest.mark.parametrize("change", ["position", "version", "seed"])
def test_position_version_and_seed_each_move_the_noise(change: str):
    first = reanalyser().compute(OBSERVATIONS, POSITIONS)
    made = reanalyser(version=int(change == "version"), seed=int(change == "seed"))
    other = made.compute(OBSERVATIONS, POSITIONS + (change == "position"))
    assert not np.array_equal(first.policy, other.policy)


def test_a_new_target_network_changes_the_targets():
    made = reanalyser(root_noise=False)
    first = made.compute(OBSERVATIONS, POSITIONS)
    made.set_weights(restless_weights(2), version=1)
    assert not np.allclose(made.compute(OBSERVATIONS, POSITIONS).network_value, first.network_value)


def test_the_target_network_is_a_copy():
    made, weights = reanalyser(root_noise=False), restless_weights(2)
    made.set_weights(weights, version=1)
    first = made.compute(OBSERVATIONS, POSITIONS)
    for tensor in weights.values():
        tensor.zero_()
    assert_same(first, made.compute(OBSERVATIONS, POSITIONS))


def test_searches_are_counted():
    made = reanalyser()
    made.compute(OBSERVATIONS, POSITIONS)
    made.compute(OBSERVATIONS[:2], POSITIONS[:2])
    assert made.num_roots_searched == 8


def test_computing_before_weights_is_refused():
    made = Reanalyser(MODEL, SearchConfig(), seed=0, max_batch=5, root_noise=False)
    with pytest.raises(RuntimeError, match="set_weights must be called before compute"):
        made.compute(OBSERVATIONS, POSITIONS)


def test_making_a_reanalyser_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Reanalyser(MODEL, SearchConfig(), seed=0, max_batch=5, root_noise=False)
    assert torch.equal(torch.rand(1), expected)

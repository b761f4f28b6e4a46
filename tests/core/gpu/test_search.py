"""The search on a device beside the search on the CPU, in worlds without rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.gpu.room import Size, room_bytes
from rllib_ez.core.gpu.search import DeviceSearch, padded_batch
from rllib_ez.core.search.plan import Plan
from rllib_ez.core.search.tree import Rules, Tree
from tests.core.gpu.tables import TableNetwork, assert_same, both
from tests.core.search.worlds import World, random_world

ON_GPU = torch.cuda.is_available()
# The simulator's u64 are NumPy's, which warn when they wrap.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")
METHODS = pytest.mark.parametrize("method", ["puct", "gumbel"])


def world_of(seed: int, *, actions: int = 3, levels: int | None = None) -> World:
    rng = np.random.default_rng(seed)
    return random_world(rng, num_states=7, num_actions=actions, num_levels=levels)


def exact(method: str) -> bool:
    """CUDA's exp may differ from the CPU's in the last digit: Gumbel's policy, on a GPU."""
    return method == "puct" or not ON_GPU


@METHODS
@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_device_says_what_the_cpu_says(device, method: str, levels: int | None, seed: int):
    ours, expected = both(
        world_of(seed, levels=levels),
        [0, 3, 6, 3, 1],
        device,
        num_simulations=np.full(5, 20),
        search_method=method,
        root_noise=True,
        lstm_horizon=2 + seed,
        discount=0.9,
    )
    assert_same(ours, expected, exact=exact(method))


@METHODS
def test_roots_with_budgets_of_their_own_stop_by_themselves(device, method: str):
    budget = np.array([3, 12, 1, 7, 12, 5])
    ours, expected = both(
        world_of(1), [0, 1, 2, 3, 4, 5], device, num_simulations=budget, search_method=method
    )
    assert ours.visit_counts.sum(axis=1).tolist() == budget.tolist()
    assert_same(ours, expected, exact=exact(method))


@METHODS
def test_illegal_actions_stay_out(device, method: str):
    legal = np.array([[True, False, True, False], [False, False, True, False], [True] * 4])
    ours, expected = both(
        world_of(2, actions=4),
        [0, 1, 2],
        device,
        legal=legal,
        num_simulations=np.full(3, 9),
        root_noise=True,
        search_method=method,
    )
    assert (ours.visit_counts[~legal] == 0).all()
    assert_same(ours, expected, exact=exact(method))


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_memories_are_forgotten_at_the_horizon(device, horizon: int):
    chain = World.of([[1], [2], [3], [4], [4]], [[1], [10], [100], [1000], [0]], [[1]] * 5, [0] * 5)
    ours, expected = both(
        chain, [0], device, num_simulations=np.array([6]), lstm_horizon=horizon, discount=1.0
    )
    assert ours.root_value[0] == expected.root_value[0]
    # 7 visits: the root's 0, then 1, 11, 111, 1111 and twice what is known of the chain's end.
    assert ours.root_value[0] == pytest.approx((1 + 11 + 111 + 3 * 1111) / 7)


def test_what_gumbel_leaves_untried_is_taught_by_the_roots_own_value(device):
    ours, expected = both(
        world_of(2, actions=6),
        [0, 1, 2],
        device,
        num_simulations=np.full(3, 4),
        max_considered_actions=2,
        search_method="gumbel",
    )
    assert ((expected.visit_counts == 0).sum(axis=1) == 4).all()
    assert_same(ours, expected, exact=exact("gumbel"))


@METHODS
def test_rows_do_not_depend_on_the_padding(device, method: str):
    settings = {"num_simulations": np.full(9, 6), "search_method": method, "root_noise": True}
    world, states = world_of(3), np.array([0, 1, 2, 3, 4, 5, 6, 0, 1])
    whole, _ = both(world, states, device, **settings)
    settings["num_simulations"] = np.full(3, 6)
    part, _ = both(world, states[:3], device, **settings)
    assert_same(part, whole.rows(np.arange(3)), exact=True)


@METHODS
def test_a_trace_is_that_of_the_cpu(device, method: str):
    """From the room of a longer search, among padding, in the order of the caller's rows."""
    world = world_of(8, actions=4, levels=3)
    ours = DeviceSearch(TableNetwork(world, device), device)
    settings = {"search_method": method, "trace": True}
    both(world, [5, 6, 0, 1], ours, num_simulations=np.full(4, 14), **settings)
    legal, budget = np.array([[True] * 4, [False, True, True, False], [True] * 4]), [3, 12, 7]
    found, expected = both(
        world, [1, 2, 4], ours, legal=legal, num_simulations=np.array(budget), **settings
    )
    assert [size.simulations for size in ours.captures] == [14]
    assert found.trace.principal_variation.tolist() == expected.trace.principal_variation.tolist()
    assert found.trace.q.tobytes() == expected.trace.q.tobytes()


@METHODS
def test_a_capture_serves_one_search_after_the_other(device, method: str):
    """Nothing of the search before is left in trees, memories or plans."""
    world = world_of(4)
    ours = DeviceSearch(TableNetwork(world, device), device)
    both(world, [5, 6, 0, 1], ours, search_method=method, num_simulations=np.full(4, 8))
    found = both(world, [1, 2], ours, search_method=method, num_simulations=np.array([8, 5]))
    assert_same(*found, exact=exact(method))
    (capture,) = ours.captures.values()
    assert capture.room.given.arrays["plan.budget"].tolist() == [8, 5, 0, 0, 0, 0, 0, 0]


def planted(world: World, budget: list[int]) -> tuple[torch.Tensor, Tree, Rules, Plan]:
    root = world.root(np.arange(len(budget)))
    most = max(budget)
    config = SearchConfig(num_simulations=most)
    plan = Plan.of(
        config,
        root.prior,
        budget=np.array(budget, np.int32),
        legal=np.ones(root.prior.shape, bool),
        seed=np.arange(len(budget), dtype=np.uint64),
        noise=False,
    )
    tree = Tree.plant(root.prior, root.value, nodes=most + 1)
    return root.latent, tree, Rules.of(config, num_simulations=most), plan


def test_a_root_without_a_budget_is_left_alone(device):
    world = world_of(0)
    ours = DeviceSearch(TableNetwork(world, device), device)
    ours.run(*planted(world, [4, 4, 4]))
    out = ours.run(*planted(world, [4, 2, 0]))
    assert out.visit_counts.sum(axis=1).tolist() == [4, 2, 0]
    assert out.root_value[2] == 0
    assert out.policy[2].tolist() == [0, 0, 0]


def test_trees_stay_on_the_device_unless_they_are_to_be_kept(device):
    world = world_of(0)
    ours = DeviceSearch(TableNetwork(world, device), device)
    arguments = planted(world, [4, 2, 0])
    before = [array.copy() for array in arguments[1]]
    ours.run(*arguments)
    assert all((a == b).all() for a, b in zip(arguments[1], before, strict=True))
    ours.run(*arguments, keep_tree=True)
    assert arguments[1].visits[:, 0].tolist() == [5, 3, 1]


def test_a_conclusion_is_the_callers_own(device):
    world = world_of(0)
    ours = DeviceSearch(TableNetwork(world, device), device)
    first = ours.run(*planted(world, [4, 4, 4]))
    before = [array.copy() for array in first]
    ours.run(*planted(world, [4, 2, 1]))
    assert all((now == then).all() for now, then in zip(first, before, strict=True))


def test_a_capture_with_few_simulations_more_is_used_again(device):
    world = world_of(5)
    ours = DeviceSearch(TableNetwork(world, device), device)
    both(world, [0, 1], ours, num_simulations=np.full(2, 10))
    found = both(world, [0, 1], ours, num_simulations=np.full(2, 8))
    assert_same(*found, exact=True)
    assert [size.simulations for size in ours.captures] == [10]


def test_a_much_longer_capture_is_not_wasted_on_a_short_search(device):
    world = world_of(5)
    ours = DeviceSearch(TableNetwork(world, device), device)
    for simulations in (6, 4):
        both(world, [0], ours, num_simulations=np.array([simulations]))
    assert [size.simulations for size in ours.captures] == [6, 4]


def test_other_rules_are_never_those_of_an_earlier_capture(device):
    world = world_of(6)
    ours = DeviceSearch(TableNetwork(world, device), device)
    changes = [{}, {"discount": 0.5}, {"lstm_horizon": 1}, {"min_max_delta": 3.0}]
    changes += [{"pb_c_init": 9.0}, {"search_method": "gumbel"}, {"gumbel_c_scale": 2.0}]
    for change in changes:
        found = both(world, [0, 1, 2], ours, num_simulations=np.full(3, 6), **change)
        assert_same(*found, exact=exact(change.get("search_method", "puct")))


def test_the_capture_used_longest_ago_is_dropped(device):
    world = world_of(7)
    ours = DeviceSearch(TableNetwork(world, device), device, max_captures=2)
    for simulations in (1, 3, 1, 5):
        both(world, [0], ours, num_simulations=np.array([simulations]))
    assert [size.simulations for size in ours.captures] == [1, 5]


def test_captures_keep_to_their_bytes(device):
    world = world_of(7)
    network = TableNetwork(world, device)
    constants = tuple(Rules.of(SearchConfig(), num_simulations=1)._replace(exploration=None))
    largest = room_bytes(Size(8, 3, 5, constants), network)
    ours = DeviceSearch(network, device, max_bytes=largest + 1)
    for simulations in (1, 5):
        both(world, [0], ours, num_simulations=np.array([simulations]))
    assert [size.simulations for size in ours.captures] == [5]


def test_the_stated_bytes_are_those_that_are_taken(device):
    world = world_of(7)
    ours = DeviceSearch(TableNetwork(world, device), device)
    ours.run(*planted(world, [3, 3]))
    ((size, capture),) = ours.captures.items()
    room = capture.room
    tensors = [room.latents, room.memories, room.latent, room.memory, room.bare_trees]
    tensors += [parcel.device for parcel in room.parcels]
    assert room_bytes(size, ours.network) == sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize(
    ("batch", "padded"), [(1, 8), (8, 8), (9, 16), (256, 256), (1025, 1536), (1537, 2048)]
)
def test_batches_are_padded_to_few_sizes(batch: int, padded: int):
    assert padded_batch(batch) == padded


def test_a_device_that_runs_no_kernels_is_refused_by_name(device):
    other = torch.device("cpu" if ON_GPU else "cuda")
    with pytest.raises(ValueError, match=f"got '{other}'"):
        DeviceSearch(TableNetwork(world_of(0), device), other)

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from rllib_ez.errors import CheckpointError, SettingError
from tests.tuning.plans import order_of, plan_of
from tuning.order import Order, check_disjoint, check_same, grown, make_order, summed_up
from tuning.reading import CUSTOM
from tuning.spaces import parse_space
from tuning.suites import load_suite

RANDOM = {"method": "random", "learning_rate": {"log_uniform": [1e-4, 1e-2]}}
OPTUNA = RANDOM | {"method": "optuna"}
EVERYTHING = {
    "method": "random",
    "asha": {"grace_env_steps": 500, "reduction_factor": 2.5},
    "observation_scale": [[1.0, 1.0, 1.0, 1.0], None],
    "learning_rate": {"log_uniform": [1e-4, 1e-2], "round": 2},
    "td_steps": {"int": [1, 10]},
}


@pytest.mark.parametrize("search", [None, RANDOM, EVERYTHING])
def test_an_order_survives_its_own_yaml(search: Any):
    order = order_of(search=search, num_samples=search and 3, assignments=["batch_size=64"])
    assert Order.read(order.as_yaml()) == order


def test_tuples_of_settings_survive_yaml():
    order = order_of(["CartPole-v1"])
    scale = Order.read(order.as_yaml()).plans["CartPole-v1"].settings["observation_scale"]
    assert scale == plan_of().settings["observation_scale"]
    assert isinstance(scale, tuple)


def test_the_space_of_an_order_draws_the_same_after_yaml():
    order = order_of(["CartPole-v1"], search=RANDOM, num_samples=4)
    assert Order.read(order.as_yaml()).specs() == order.specs()


def test_the_yaml_holds_plain_values_and_its_format_first():
    values = yaml.safe_load(order_of(search=EVERYTHING, num_samples=1).as_yaml())
    assert next(iter(values.items())) == ("format", 1)
    assert (values["games"], values["seeds"]) == (["CartPole-v1", "Acrobot-v1"], [0, 1])


@pytest.mark.parametrize("text", ["", "[1]", "games: [", "format: 1", "format: 1\nplans: {a: 1}"])
def test_another_text_is_refused(text: str):
    with pytest.raises(CheckpointError, match=r"must hold a readable sweep\.yaml, got"):
        Order.read(text)


def test_a_newer_format_is_refused():
    text = order_of().as_yaml().replace("format: 1", "format: 2", 1)
    with pytest.raises(CheckpointError, match="format 2, where this version reads 1"):
        Order.read(text)


def test_an_entry_that_nobody_knows_is_refused():
    with pytest.raises(CheckpointError, match="colour"):
        Order.read(order_of().as_yaml() + "colour: red\n")


def test_every_game_is_trained_with_one_seed_before_the_next():
    specs = [(spec.game, spec.seed) for spec in order_of().specs()]
    assert specs == [("CartPole-v1", 0), ("Acrobot-v1", 0), ("CartPole-v1", 1), ("Acrobot-v1", 1)]


def test_a_search_tries_each_sample_on_every_combination():
    specs = order_of(search=RANDOM, num_samples=2).specs()
    samples = [spec.sample for spec in specs]
    assert len(specs) == 8
    assert samples == [samples[0]] * 4 + [samples[4]] * 4
    assert samples[0] != samples[4]


def test_each_game_gets_its_own_preset_and_the_common_settings():
    plans = order_of(assignments=["td_steps=7"]).plans
    assert [plan.presets for plan in plans.values()] == [["cartpole"], ["acrobot"]]
    assert {plan.settings["td_steps"] for plan in plans.values()} == {7}
    assert {plan.env_steps for plan in plans.values()} == {2000}


def test_the_same_order_again_changes_nothing():
    assert grown(order_of(), order_of()) == order_of()


def test_games_and_seeds_add_up_in_their_order():
    now = order_of(["Acrobot-v1", "MountainCar-v0"], seeds=[5, 1])
    found = grown(order_of(), now)
    assert found.games == ("CartPole-v1", "Acrobot-v1", "MountainCar-v0")
    assert found.seeds == (0, 1, 5)
    assert found.plans["MountainCar-v0"] == now.plans["MountainCar-v0"]


def test_fewer_games_and_seeds_leave_those_that_are_there():
    assert grown(order_of(), order_of(["Acrobot-v1"], seeds=[1])) == order_of()


@pytest.mark.parametrize(("before", "now", "both"), [(2, 5, 5), (5, 2, 5)])
def test_of_two_numbers_of_samples_the_greater_counts(before: int, now: int, both: int):
    orders = [order_of(search=RANDOM, num_samples=count) for count in (before, now)]
    assert grown(*orders).num_samples == both


def test_more_samples_keep_the_trials_that_are_there():
    orders = [order_of(search=RANDOM, num_samples=count) for count in (2, 3)]
    assert grown(*orders).specs()[:8] == orders[0].specs()


def of_suite(suite: str, *games: str) -> Order:
    """An order whose plans nobody looks at."""
    order = order_of()
    plans = dict.fromkeys(games, order.plans["CartPole-v1"])
    return replace(order, suite=suite, games=games, plans=plans)


def test_games_of_another_suite_make_a_custom_one():
    assert grown(order_of(), of_suite("atari57", "Pong")).suite == CUSTOM


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_suite_that_knows_all_games_is_taken(is_turned: bool):
    orders = [of_suite("atari100k", "Pong"), of_suite("atari57", "Pong", "Pitfall")]
    assert grown(*(reversed(orders) if is_turned else orders)).suite == "atari57"


def test_threads_may_differ_and_stay_as_they_were():
    before = order_of(["CartPole-v1"])
    more = replace(before.plans["CartPole-v1"], threads=7)
    assert grown(before, replace(before, plans={"CartPole-v1": more})) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_steps": 3000}, "^env_steps must be as in the sweep .*, 2000, got 3000"),
        ({"presets": ["control"]}, r"^presets must be as .*, \[\], got \['control'\]"),
        ({"assignments": ["td_steps=2"]}, r"^assignments must be .*, \[\], got \['td_steps=2'\]"),
        ({"search": RANDOM, "num_samples": 2}, r"^search must .*, None, got \{'method': 'random"),
        ({"evaluation_episodes": 3}, "^evaluation_episodes must be as .*, None, got 3"),
    ],
)  # fmt: skip
def test_whatever_else_differs_is_refused_by_name(changes: dict[str, Any], message: str):
    with pytest.raises(SettingError, match=message):
        grown(order_of(), replace(order_of(), **changes))


def test_a_preset_that_changed_meanwhile_is_told_by_game_and_setting():
    before = order_of()
    plan = before.plans["Acrobot-v1"]
    changed = replace(plan, settings=plan.settings | {"td_steps": 99})
    now = replace(before, plans=before.plans | {"Acrobot-v1": changed})
    with pytest.raises(SettingError, match=r"^settings of Acrobot-v1 .*, td_steps=\d+, got 99"):
        grown(before, now)


def test_lists_and_tuples_are_the_same_setting():
    plan = plan_of()
    listed = plan.settings | {"observation_scale": list(plan.settings["observation_scale"])}
    check_same("CartPole-v1", plan, replace(plan, settings=listed))


def test_a_setting_that_a_version_adds_is_told():
    plan = plan_of()
    settings = {name: value for name, value in plan.settings.items() if name != "td_steps"}
    with pytest.raises(SettingError, match="td_steps=None, got 5"):
        check_same("CartPole-v1", replace(plan, settings=settings), plan)


def test_a_setting_is_searched_or_set():
    space = parse_space(RANDOM, name="mine")
    check_disjoint(space, ["td_steps=3"])
    with pytest.raises(SettingError, match="searched or set, got both for learning_rate"):
        check_disjoint(space, ["td_steps=3", " learning_rate =0.1"])
    with pytest.raises(SettingError, match="searched or set"):
        order_of(search=RANDOM, num_samples=1, assignments=["learning_rate=0.1"])


@pytest.mark.parametrize("num_samples", [None, 0])
def test_optuna_is_told_how_often_to_choose(num_samples: int | None):
    with pytest.raises(SettingError, match=f"num_samples must be >= 1 .* got {num_samples}"):
        order_of(search=OPTUNA, num_samples=num_samples)


def test_a_note_that_games_have_alike_is_told_once():
    notes = [f"no GPU, so {game} is trained with the small preset" for game in ("a", "b")]
    assert summed_up([*notes, "other"]) == [f"{notes[0]}; so are 1 other games", "other"]


def test_an_assignment_that_is_none_is_refused():
    games = [load_suite("classic").find("CartPole-v1")]
    with pytest.raises(SettingError, match="nonsense"):
        make_order("classic", games, seeds=[0], assignments=["nonsense=1"], options={})

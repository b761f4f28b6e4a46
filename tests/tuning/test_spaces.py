"""A search space is read from a file, checked line by line, and drawn from without surprises."""

import json

import pytest

from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.errors import SettingError
from tuning.spaces import Asha, as_entries, load_space, parse_space, samples, space_names

MIXED = {
    "learning_rate": {"log_uniform": ["1e-4", 1e-2]},
    "td_steps": {"int": [1, 10]},
    "temperature_updates": {"log_int": [1000, 50000]},
    "search_method": ["puct", "gumbel"],
}


def space_of(**entries):
    return parse_space(entries, name="mine.yaml")


@pytest.mark.parametrize("name", space_names())
def test_every_named_space_draws_settings_that_training_takes(name):
    drawn = samples(load_space(name), 20, seed=0)
    assert [checked_settings(one) for one in drawn] == drawn
    assert len({json.dumps(one) for one in drawn}) == 20


def test_the_named_spaces_are_these():
    assert space_names() == ["classic", "schedule", "search"]


def test_a_file_of_ones_own_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "method: random\nasha: {grace_env_steps: 2000, reduction_factor: 4}\n"
        "learning_rate: {log_uniform: [1e-4, 1.0e-2], round: 1}\ntd_steps: [3, 5]\n"
    )
    space = load_space(str(file))
    assert space.method == "random"
    assert space.asha == Asha(grace_env_steps=2000, reduction_factor=4)
    assert space.dimensions["learning_rate"].values == (1e-4, 1e-2)
    assert space.dimensions["td_steps"].values == (3, 5)


def test_an_unknown_space_is_told_what_there_is():
    with pytest.raises(SettingError, match="classic, schedule, search.*did you mean classic"):
        load_space("clasic")


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: [1, 2\n")
    with pytest.raises(SettingError, match="mine.yaml must be YAML"):
        load_space(str(file))


def test_a_space_survives_its_own_entries():
    space = space_of(method="random", asha={"grace_env_steps": 300}, **MIXED)
    entries = json.loads(json.dumps(as_entries(space)))
    assert parse_space(entries, name="mine.yaml") == space


def test_more_samples_leave_the_earlier_ones_as_they_were():
    space = space_of(**MIXED)
    assert samples(space, 9, seed=3)[:4] == samples(space, 4, seed=3)


def test_another_seed_draws_others():
    space = space_of(**MIXED)
    assert samples(space, 4, seed=3) != samples(space, 4, seed=4)


def test_moving_a_line_of_the_file_changes_no_draw():
    moved = dict(reversed(MIXED.items()))
    assert samples(space_of(**moved), 4, seed=0) == samples(space_of(**MIXED), 4, seed=0)


def test_the_first_sample_is_always_the_same():
    first = samples(space_of(**MIXED), 1, seed=0)[0]
    assert first == {
        "learning_rate": 0.000423,
        "td_steps": 3,
        "temperature_updates": 6730,
        "search_method": "gumbel",
    }


def test_no_sample_comes_twice_in_a_small_space():
    space = space_of(td_steps={"int": [1, 5]}, search_method=["puct", "gumbel"])
    drawn = samples(space, 10, seed=0)
    pairs = {(one["td_steps"], one["search_method"]) for one in drawn}
    assert pairs == {(n, m) for n in (1, 2, 3, 4, 5) for m in ("puct", "gumbel")}


@pytest.mark.parametrize("entry", [{"int": [1, 5]}, {"log_int": [1, 5]}])
def test_asking_for_more_than_there_is_names_how_many_there_are(entry):
    with pytest.raises(SettingError, match="num_samples must be at most 5"):
        samples(space_of(td_steps=entry), 6, seed=0)


@pytest.mark.parametrize("num_samples", [None, 0])
def test_a_random_search_needs_a_number_of_samples(num_samples):
    with pytest.raises(SettingError, match="num_samples must be >= 1"):
        samples(space_of(**MIXED), num_samples, seed=0)


def test_optuna_has_no_samples_ahead():
    with pytest.raises(SettingError, match="method must be random or grid"):
        samples(space_of(method="optuna", **MIXED), 3, seed=0)


@pytest.mark.parametrize("num_samples", [None, 4, 100])
def test_a_grid_is_every_combination_in_order(num_samples):
    space = space_of(method="grid", td_steps=[3, 5], search_method=["puct", "gumbel"])
    assert samples(space, num_samples, seed=0) == [
        {"td_steps": 3, "search_method": "puct"},
        {"td_steps": 3, "search_method": "gumbel"},
        {"td_steps": 5, "search_method": "puct"},
        {"td_steps": 5, "search_method": "gumbel"},
    ]


def test_too_few_samples_for_a_grid_are_told_its_size():
    space = space_of(method="grid", td_steps=[3, 5], search_method=["puct", "gumbel"])
    with pytest.raises(SettingError, match="at least 4"):
        samples(space, 3, seed=0)


def test_a_grid_takes_no_ranges():
    with pytest.raises(SettingError, match="mine.yaml: td_steps must be a list of choices in a gr"):
        space_of(method="grid", td_steps={"int": [1, 5]})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"learning_rat": [1.0]}, "got 'learning_rat'; did you mean learning_rate"),
        ({"learning_rate": [1e-3, -1.0]}, "learning_rate must be > 0, got -1.0"),
        ({"learning_rate": {"uniform": [0.0, 1.0]}}, "learning_rate must be > 0, got 0.0"),
        ({"discount": {"uniform": [0.9, 1.5]}}, "discount must be in .0, 1., got 1.5"),
        ({"td_steps": ["many"]}, "td_steps must be a whole number, got 'many'"),
        ({"value_bins": {"int": [41, 101]}}, "value_bins must be odd.*got 42"),
        ({"seed": [0, 1]}, "seed must not be searched over; use --seeds"),
        ({"method": "guess", "td_steps": [3]}, "method must be one of random, grid, optuna"),
        ({"method": "random"}, "must name a setting to choose, got none"),
        ({5: [1]}, "got '5'"),
    ],
)
def test_a_wrong_setting_or_value_is_named_with_its_file(entries, message):
    with pytest.raises(SettingError, match=f"search space mine.yaml: .*{message}"):
        parse_space(entries, name="mine.yaml")


@pytest.mark.parametrize(
    "entry",
    [{"grace_env_steps": 0}, {"grace_env_steps": 10, "reduction_factor": 1}, {}, 2000,
     {"grace_env_steps": 10, "patience": 3}, {"grace_env_steps": True}],
)  # fmt: skip
def test_wrong_settings_of_asha_are_refused(entry):
    with pytest.raises(SettingError, match=r"mine.yaml: asha.* must be"):
        space_of(asha=entry, td_steps=[3])

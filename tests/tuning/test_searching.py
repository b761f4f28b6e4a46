"""Optuna over games and seeds, and an early end for trials that lag."""

import sys
from types import SimpleNamespace

import pytest

from rllib_ez.errors import SettingError
from tuning.searching import as_tune, asha_scheduler, metric_for, optuna_search, spec_of
from tuning.spaces import Asha, parse_space
from tuning.specs import TrialSpec
from tuning.suites import Game, Suite

PAIRS = [("Pong", 0), ("Breakout", 0)]
ASHA = Asha(grace_env_steps=2000, reduction_factor=3)
SETTINGS = {"learning_rate": 0.003, "td_steps": 5}


def space_of(**entries):
    ranges = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}, "td_steps": {"int": [1, 10]}}
    return parse_space({"method": "optuna", **(entries or ranges)}, name="mine.yaml")


def search_of(*, space=None, combinations=PAIRS, seed=0, **told):
    pytest.importorskip("optuna")
    return optuna_search(space or space_of(), combinations=combinations, seed=seed, **told)


def suggested(search, count):
    return [search.suggest(str(i))["settings"] for i in range(count)]


def optuna_trials(search):
    """What Optuna was told: states and scores, the enqueued first."""
    return [(trial.state.name, trial.value) for trial in search.searcher._ot_study.trials]


def test_a_choice_is_tried_on_every_combination():
    search = search_of()
    configs = [search.suggest(str(i)) for i in range(4)]
    assert [(config["game"], config["seed"]) for config in configs] == PAIRS * 2
    assert configs[0]["settings"] == configs[1]["settings"] != configs[2]["settings"]


def test_the_score_of_a_choice_is_the_mean_over_its_combinations():
    search = search_of()
    suggested(search, 2)
    search.on_trial_complete("0", {"normalised_return": 0.25})
    search.on_trial_complete("1", {"normalised_return": 0.75})
    assert optuna_trials(search) == [("COMPLETE", 0.5)]


@pytest.mark.parametrize("result", [None, {"normalised_return": None},
                                    {"normalised_return": float("nan")}])  # fmt: skip
def test_a_trial_without_a_score_fails_its_choice(result):
    search = search_of()
    suggested(search, 2)
    search.on_trial_complete("0", {"normalised_return": 0.25})
    search.on_trial_complete("1", result, error=result is None)
    assert optuna_trials(search) == [("FAIL", None)]


def test_pending_choices_come_first_and_unchanged():
    other = {"learning_rate": 0.00123, "td_steps": 7}
    assert suggested(search_of(pending=[SETTINGS, other]), 4) == [SETTINGS, SETTINGS, other, other]


def test_optuna_hears_of_earlier_scores_and_failures():
    other = {"learning_rate": 0.00123, "td_steps": 7}
    search = search_of(evaluated=[(SETTINGS, 0.5), (other, None), (other, float("nan"))])
    assert optuna_trials(search) == [("COMPLETE", 0.5), ("FAIL", None), ("FAIL", None)]


def test_a_later_part_does_not_repeat_an_earlier_one():
    first = suggested(search_of(combinations=[("Pong", 0)]), 5)
    told = [(settings, 0.1) for settings in first]
    later = suggested(search_of(combinations=[("Pong", 0)], evaluated=told), 5)
    assert not [settings for settings in later if settings in first]


def test_the_same_seed_suggests_the_same():
    assert suggested(search_of(seed=4), 6) == suggested(search_of(seed=4), 6)
    assert suggested(search_of(seed=5), 6) != suggested(search_of(seed=4), 6)


def test_a_small_space_is_tried_out_without_repeats_and_then_finished():
    search = search_of(space=space_of(td_steps={"int": [1, 9]}), combinations=[("Pong", 0)])
    found = []
    while (config := search.suggest(str(len(found)))) != "FINISHED":
        search.on_trial_complete(str(len(found)), {"normalised_return": 1.0 * len(found)})
        found.append(config["settings"]["td_steps"])
    assert sorted(found) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert sorted(score for state, score in optuna_trials(search) if state == "COMPLETE") == [
        0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0,
    ]  # fmt: skip


def test_optuna_finds_better_settings_than_chance():
    search = search_of(space=space_of(value_weight={"uniform": [0.0, 1.0]}), combinations=PAIRS[:1])
    found = []
    for i in range(40):
        found.append(search.suggest(str(i))["settings"]["value_weight"])
        search.on_trial_complete(str(i), {"normalised_return": -abs(found[-1] - 0.7)})
    assert sum(abs(value - 0.7) < 0.1 for value in found[10:]) > 12  # chance: 6


@pytest.mark.parametrize("settings", [{"learning_rate": 0.5, "td_steps": 5}, {"td_steps": 5}])
def test_settings_outside_the_space_are_refused(settings):
    with pytest.raises(SettingError, match=r"lie in the search space mine.yaml"):
        search_of(pending=[settings])
    with pytest.raises(SettingError, match=r"lie in the search space mine.yaml"):
        search_of(evaluated=[(settings, 0.5)])


def test_without_optuna_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r'pip install "rllib-ez\[optuna\]"'):
        optuna_search(space_of(), combinations=PAIRS, seed=0)


def test_the_spec_of_a_config_is_read_back():
    spec = TrialSpec(game="Pong", seed=3, settings=SETTINGS)
    assert spec_of(spec.as_config() | {"folder": "x"}) == spec
    flat = {**SETTINGS, "__trial_index__": 1, "folder": "x"}
    assert spec_of(flat, PAIRS) == TrialSpec(game="Breakout", seed=0, settings=SETTINGS)


def test_tune_s_domains_are_those_of_the_space():
    space = space_of(
        learning_rate={"log_uniform": [1e-4, 1e-2]}, td_steps={"int": [1, 3]},
        batch_size={"log_int": [8, 9]}, search_method=["puct"],
    )  # fmt: skip
    drawn = [{name: one.sample() for name, one in as_tune(space).items()} for _ in range(200)]
    assert {one["td_steps"] for one in drawn} == {1, 2, 3}
    assert {one["batch_size"] for one in drawn} == {8, 9}
    assert {one["search_method"] for one in drawn} == {"puct"}
    assert all(1e-4 <= one["learning_rate"] <= 1e-2 for one in drawn)


def test_a_grid_is_tune_s_grid():
    space = space_of(method="grid", td_steps=[3, 5])
    assert as_tune(space) == {"td_steps": {"grid_search": [3, 5]}}


def test_games_without_constants_are_searched_by_return():
    known = Game(name="Pong", env="pong", random=-20.7, reference=14.6)
    other = Game(name="Mine-v0", env="Mine-v0")
    suite = Suite(name="own", reference_name="mine", games=(known, other))
    assert metric_for(suite, [known]) == "normalised_return"
    assert metric_for(suite, [known, other]) == "return"


class Rows:
    """Hands rows to a scheduler as Tune would."""

    def __init__(self, **options):
        self.scheduler = asha_scheduler(ASHA, max_progress=20000, **options)

    def report(self, sample, progress, score, *, game="Pong"):
        spec = TrialSpec(game=game, seed=0, settings={"td_steps": sample})
        trial = SimpleNamespace(trial_id=f"{game}{sample}", config=spec.as_config())
        row = {"progress": progress, "normalised_return": score, "return": score}
        return self.scheduler.on_trial_result(None, trial, row)


def test_only_the_best_third_goes_on_from_a_rung():
    rows = Rows()
    scores = [0.5, 0.1, 0.6, 0.4]
    decisions = [rows.report(i, 2000, score) for i, score in enumerate(scores)]
    assert decisions == ["CONTINUE", "STOP", "CONTINUE", "STOP"]


def test_no_trial_is_stopped_within_its_grace():
    rows = Rows()
    rows.report(0, 1999, 0.9)
    assert rows.report(1, 1999, 0.1) == "CONTINUE"


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_row_without_a_score_waits_for_one_with(missing):
    rows = Rows()
    rows.report(0, 2000, 0.9)
    assert rows.report(1, 2000, missing) == "CONTINUE"
    assert rows.report(1, 2500, 0.1) == "STOP"


def test_rows_without_a_score_do_not_spoil_a_rung():
    rows = Rows()
    rows.report(0, 2000, None)
    assert rows.report(1, 2000, 0.1) == "CONTINUE"
    assert rows.report(2, 2000, 0.05) == "STOP"


def test_a_last_row_without_a_score_completes_a_trial():
    scheduler = asha_scheduler(ASHA, max_progress=20000)
    trial = SimpleNamespace(trial_id="x", config=TrialSpec(game="Pong", seed=0).as_config())
    scheduler.on_trial_add(None, trial)
    scheduler.on_trial_complete(None, trial, {"progress": 2000, "normalised_return": None})
    assert Rows().report(1, 2000, 0.1) == "CONTINUE"


def test_games_are_not_compared_with_each_other():
    rows = Rows()
    rows.report(0, 2000, 0.9, game="Pong")
    assert rows.report(0, 2000, 0.1, game="Breakout") == "CONTINUE"


def test_a_rung_that_was_jumped_over_is_not_decided_later():
    rows = Rows()
    rows.report(0, 2000, 0.9)
    assert rows.report(1, 6000, 0.1) == "CONTINUE"  # the first at this rung
    assert rows.report(1, 6500, 0.1) == "CONTINUE"


def test_trials_of_earlier_parts_count():
    spec = TrialSpec(game="Pong", seed=0, settings={"td_steps": 9})
    rows = Rows(earlier=[(spec, [{"progress": 2000, "normalised_return": 0.9}])])
    assert rows.report(1, 2000, 0.1) == "STOP"
    assert rows.report(9, 2100, 0.1) == "CONTINUE"  # it passed this rung in the earlier part


def test_the_metric_of_a_custom_suite_is_compared():
    rows = Rows(metric="return")
    rows.report(0, 2000, 200.0)
    assert rows.report(1, 2000, 9.0) == "STOP"


def test_a_grace_longer_than_the_trials_is_refused():
    with pytest.raises(SettingError, match=r"grace_env_steps must be <= .*\(1500\), got 2000"):
        asha_scheduler(ASHA, max_progress=1500)

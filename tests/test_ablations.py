"""The ablations' own parts: their numbers, their table, and how they go on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from scipy import stats

from benchmarks import ablations, learning
from benchmarks.ablations import check_same_question, eta_seconds, make_missing, plan
from benchmarks.ablations_report import compared, difference, notes, table
from benchmarks.learning import Run, band, bootstrap, curve_mean, train_one

PROTOCOL = {"weights": "final", "episodes": 20, "num_simulations": 16, "seed": 3, "atari": None}


def row_of(variant: str, seed: int, returns: list[float]) -> dict:
    """A run with an evaluation every 100 env steps."""
    return {
        "variant": variant,
        "seed": seed,
        "env_steps": [100 * (i + 1) for i in range(len(returns))],
        "return_mean": returns,
        "final_return_mean": returns[-1],
        "training_seconds": 10.0 + seed,
        "config_hash": variant,
        "final": {"protocol": {**PROTOCOL, "seed": seed}},
        "machine": {"processor": "P", "cpus": 2, "torch": "2", "commit": "abc"},
    }


def arguments(tmp_path: Path, **changed) -> tuple[argparse.Namespace, Path]:
    given = {"env": "cartpole", "env_steps": None, "extra": [], "seeds": [0, 1], "parallel": 1}
    given |= {"variants": ["full", "muzero"], "solved": 2.0}
    return argparse.Namespace(**(given | changed)), tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of what was trained, in no time at all; muzero's seed 0 fails."""
    labels: list[str] = []

    def train(run: Run, out: Path):
        labels.append(run.label)
        if run.label == "muzero-seed-0":
            raise RuntimeError("no luck")
        out.mkdir()
        (out / "config.yaml").write_text("a: 1\n")
        (out / "machine.json").write_text('[{"resumed_at": 0, "config_hash": "h"}]')
        return row_of("", run.seed, [1.0, 2.0]), [{"env_steps": 100}, {"env_steps": 200}]

    monkeypatch.setattr(learning, "train_one", train)
    return labels


def test_the_mean_over_the_curve_is_its_area_over_its_span():
    # 100 steps at a mean of 1, then 200 at a mean of 3: 700 / 300
    assert curve_mean([100, 200, 400], [0.0, 2.0, 4.0]) == pytest.approx(7 / 3)


def test_a_curve_of_one_evaluation_is_as_high_as_that():
    assert curve_mean([100], [5.0]) == 5.0


def test_the_interval_of_two_runs_reaches_from_one_to_the_other():
    # a resample is both, one of each, or both of the other: 1/4, 1/2, 1/4
    assert bootstrap([1.0, 3.0]) == (1.0, 3.0)
    assert bootstrap([1.0]) is None


def test_welchs_interval_of_equal_variances_is_students():
    # variances 2 and 2 over 2 runs each: sqrt(1 + 1), 2 degrees of freedom, t = 4.302653
    found = difference([1.0, 3.0], [4.0, 6.0])
    assert found["mean"] == -3.0
    assert found["interval"] == pytest.approx((-3 - 6.084870, -3 + 6.084870), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_welchs_interval_is_scipys(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=5), rng.normal(1.0, 4.0, size=3)
    twin = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert difference(x, y)["interval"] == pytest.approx(tuple(twin))


def test_runs_that_are_all_alike_differ_by_exactly_so_much():
    assert difference([500.0, 500.0], [490.0, 490.0]) == {"mean": 10.0, "interval": (10.0, 10.0)}


def test_a_single_run_has_a_difference_and_no_interval():
    assert difference([3.0], [1.0, 1.0]) == {"mean": 2.0, "interval": None}


def test_a_variant_is_told_by_its_final_scores_and_its_curves():
    full = [row_of("full", 0, [0.0, 4.0]), row_of("full", 1, [2.0, 2.0])]
    rows = [row_of("muzero", 0, [1.0, 1.0]), row_of("muzero", 1, [0.0, 2.0])]
    told = compared("muzero", rows, full, 2.0)
    assert (told["final_mean"], told["finals"], told["solved"]) == (1.5, [1.0, 2.0], 1)
    assert (told["curve_mean"], told["curve_means"]) == (1.0, [1.0, 1.0])
    assert told["final_difference"]["mean"] == -1.5
    assert told["curve_difference"] == {"mean": -1.0, "interval": (-1.0, -1.0)}
    assert told["training_seconds"] == 10.5


def test_the_whole_algorithm_is_not_compared_with_itself():
    full = [row_of("full", 0, [0.0, 4.0])]
    assert compared("full", full, full, 2.0)["final_difference"] is None


def test_the_table_has_a_row_a_variant():
    found = {"full": [row_of("full", 0, [1.0, 2.0]), row_of("full", 1, [1.0, 3.0])]}
    found |= {"muzero": [row_of("muzero", 0, [0.0, 1.0])]}
    told = [compared(v, rows, found["full"], 2.0) for v, rows in found.items()]
    rows = [row for rows in found.values() for row in rows]
    summary = {"variants": told, "rows": rows, "notes": notes(found), "runs_wanted": 2}
    text = table(summary | {"solved_at": 2.0, "parallel": 1, "command": "c"}).splitlines()
    assert text[2] == ("| full | 2 of 2 | 2.5 [2, 3] | 2, 3 | 2 of 2 | 1.75 [1.5, 2] |  |  | 10 |")
    assert text[3] == "| muzero | 1 of 2 | 1 | 1 | 0 of 1 | 0.5 | -1.5 | -1.25 | 10 |"
    assert "abc" in text[5]
    assert "final weights" in text[5]


def test_equal_and_mixed_settings_are_told():
    found = {"full": [row_of("full", 0, [1.0])]}
    found["muzero"] = [row_of("muzero", 0, [1.0]), row_of("full", 1, [1.0])]
    told = notes(found)
    assert told[1:] == [
        "Equal settings: full, muzero.",
        "Settings differ between the seeds of muzero.",
    ]


def test_a_variant_that_changes_nothing_is_told():
    full = [row_of("full", seed, [1.0, 2.0 + seed]) for seed in (0, 1)]
    same = [row_of("muzero", seed, [1.0, 2.0 + seed]) for seed in (0, 1)]
    other = [row_of("infonce", 0, [1.0, 2.0]), row_of("infonce", 1, [1.5, 3.0])]
    told = notes({"full": full, "muzero": same, "infonce": other})
    assert [one.split(":")[0] for one in told if "does nothing here" in one] == ["muzero"]


def test_scores_of_different_searches_are_told_apart():
    other = row_of("muzero", 0, [1.0])
    other["final"] = {"protocol": {**PROTOCOL, "num_simulations": 50}}
    told = notes({"full": [row_of("full", 0, [1.0])], "muzero": [other]})
    assert "16 simulations" in told[0]
    assert told[1].startswith("muzero: ")
    assert "50 simulations" in told[1]


def test_runs_go_seed_by_seed_over_all_variants(tmp_path):
    args, _ = arguments(tmp_path)
    assert [(run.label, run.overlay) for _, run in plan(args)] == [
        ("full-seed-0", ""),
        ("muzero-seed-0", "muzero"),
        ("full-seed-1", ""),
        ("muzero-seed-1", "muzero"),
    ]


def test_a_run_that_fails_is_named_and_the_others_are_kept(tmp_path, trained):
    assert make_missing(*arguments(tmp_path)) == ["muzero-seed-0"]
    kept = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert kept == ["full-seed-0.jsonl", "full-seed-1.jsonl", "muzero-seed-1.jsonl"]
    assert "| muzero | 1 of 2 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "curves.png").exists()


def test_a_second_call_makes_only_what_is_missing(tmp_path, trained):
    make_missing(*arguments(tmp_path))
    trained.clear()
    make_missing(*arguments(tmp_path, seeds=[0, 1, 2]))
    assert trained == ["muzero-seed-0", "full-seed-2", "muzero-seed-2"]


def test_a_folder_of_other_runs_is_refused(tmp_path):
    check_same_question(tmp_path, {"env": "cartpole", "extra": []})
    check_same_question(tmp_path, {"env": "cartpole", "extra": []})
    with pytest.raises(SystemExit, match="choose another name"):
        check_same_question(tmp_path, {"env": "cartpole", "extra": ["--set", "a=1"]})


def test_a_training_that_was_stopped_is_no_result(tmp_path, monkeypatch):
    final = {"protocol": {**PROTOCOL, "weights": "checkpoint"}, "env_steps": 40}
    done = CompletedProcess([], 0, stdout=json.dumps(final), stderr="")
    monkeypatch.setattr(learning.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RuntimeError, match="full-seed-0 was stopped at 40 env steps"):
        train_one(Run(label="full-seed-0", env="cartpole", seed=0), tmp_path)


def test_what_is_left_takes_as_long_as_what_was_done():
    assert eta_seconds(30.0, done=3, total=8) == 50.0


def test_curves_are_averaged_at_the_steps_that_all_reach():
    first = {"env_steps": [100, 300], "return_mean": [0.0, 2.0]}
    second = {"env_steps": [200, 400], "return_mean": [3.0, 5.0]}
    steps, middle, low, high = band([first, second])
    assert steps.tolist() == [200, 300]
    assert middle.tolist() == [2.0, 3.0]
    assert (low.tolist(), high.tolist()) == ([1.0, 2.0], [3.0, 4.0])


def test_variants_are_presets_but_for_the_whole_algorithm():
    assert ablations.overlay_of("full") == ""
    assert ablations.overlay_of("muzero") == "muzero"

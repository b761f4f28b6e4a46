"""A whole small search on a real Tune: Optuna over two games, with trials stopped and broken."""

import json
from types import SimpleNamespace

import pytest

from tuning.searching import asha_scheduler, optuna_search, spec_of
from tuning.spaces import Asha, parse_space

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PAIRS = [("Pong", 0), ("Breakout", 0)]


def toy_trainable():
    """Trials of four rows whose first has no score; td_steps 2 fails on its second row."""
    from ray import tune

    class Toy(tune.Trainable):
        def reset_config(self, new_config):
            self.progress = 0
            return True

        def step(self):
            self.progress = getattr(self, "progress", 0) + 1000
            td_steps = self.config["settings"]["td_steps"]
            if td_steps == 2 and self.progress == 2000:
                raise RuntimeError("broken on purpose")
            score = None if self.progress == 1000 else 1.0 * td_steps
            finished = self.progress == 4000
            return {"progress": self.progress, "normalised_return": score, "done": finished}

        def save_checkpoint(self, checkpoint_dir):
            return {"progress": self.progress}

    return Toy


@pytest.fixture(scope="module")
def toy_sweep(tmp_path_factory, small_ray):
    """A sweep of five choices on two games, and what Optuna was told of them."""
    pytest.importorskip("optuna")
    from ray import tune

    folder = tmp_path_factory.mktemp("sweep")
    pending = [{"td_steps": n} for n in (9, 2, 4)]
    space = parse_space({"method": "optuna", "td_steps": {"int": [1, 9]}}, name="mine.yaml")
    search = optuna_search(space, combinations=PAIRS, pending=pending, seed=0)
    tuner = tune.Tuner(
        toy_trainable(),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=asha_scheduler(Asha(grace_env_steps=2000), max_progress=4000),
            num_samples=10,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), name="part_01", verbose=0),
    )
    results = tuner.fit()
    told = [(one.state.name, one.value) for one in search.searcher._ot_study.trials]
    return SimpleNamespace(results=list(results), told=told)


def test_tune_runs_every_choice_on_every_game(toy_sweep):
    specs = [spec_of(result.config) for result in toy_sweep.results]
    assert len({spec.name for spec in specs}) == 10
    assert [spec.game for spec in specs].count("Pong") == 5
    assert [spec.settings["td_steps"] for spec in specs[:6]] == [9, 9, 2, 2, 4, 4]


def test_a_failing_choice_is_told_as_failed_and_the_others_by_score(toy_sweep):
    assert toy_sweep.told[:3] == [("COMPLETE", 9.0), ("FAIL", None), ("COMPLETE", 4.0)]
    failed = [one for one in toy_sweep.results if one.error is not None]
    assert [spec_of(one.config).settings["td_steps"] for one in failed] == [2, 2]


def test_the_last_row_of_a_stopped_trial_is_in_its_file(toy_sweep):
    stopped = next(
        one for one in toy_sweep.results if spec_of(one.config).settings["td_steps"] == 4
    )
    lines = open(f"{stopped.path}/result.json").read().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["progress"] for row in rows] == [1000, 2000]
    assert [row["normalised_return"] for row in rows] == [None, 4.0]
    assert rows[-1]["done"] is True

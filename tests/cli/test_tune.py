"""`ez tune` and what goes on with it, for real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sweep_faults
from tuning.reading import read_sweep
from tuning.report.model import Run

from .conftest import ez, ez_background, ez_process, trained, wait_for

SMALL = [
    *("--set=num_simulations=4", "--set=hidden_size=16", "--set=lstm_size=8"),
    *("--set=head_hidden_size=8", "--set=projection_size=16", "--set=num_random_steps=80"),
    *("--set=prediction_hidden_size=8", "--set=batch_size=16", "--set=rollout_fragment_length=5"),
    *("--evaluation-episodes", "2", "--no-estimate", "--max-concurrent", "2"),
]
STEPS = 1000  # long enough to be killed in the middle
SWEEP = [
    *("tune", "--games", "CartPole-v1", "--env-steps", str(STEPS), *SMALL),
    *("--checkpoint-every", "100", "--evaluate-every", "500"),
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of CartPole, trained without a disturbance."""
    out = tmp_path_factory.mktemp("sweeps") / "cartpole"
    outcome = trained(*SWEEP, "--seeds", "2", "--out", str(out))
    assert (outcome["ended"], outcome["left"], outcome["failed"]) == (2, 0, 0)
    return out


@pytest.fixture(scope="module")
def undisturbed(sweep: Path) -> list[Run]:
    """What its two trials reported."""
    return [run for run in read_sweep(sweep).runs if run.seed < 2]


@pytest.mark.slow
@pytest.mark.ray
def test_every_trial_has_rows_checkpoints_and_the_usual_files(sweep: Path):
    for run in read_sweep(sweep).runs:
        folder = Path(run.folder)
        assert run.is_finished
        assert [row["progress"] for row in run.rows][-1] >= STEPS
        assert len(run.rows[-1]["evaluation_returns"]) == 2
        assert {"result.json", "progress.csv", "params.json"} <= {p.name for p in folder.iterdir()}
        assert list(folder.glob("events.out.tfevents*"))
        (checkpoint,) = folder.glob("checkpoint_*")
        assert not (checkpoint / "pipeline").exists()  # of a finished trial the agent alone


@pytest.mark.slow
@pytest.mark.ray
def test_the_same_command_has_nothing_to_do(sweep: Path):
    outcome = trained(*SWEEP, "--seeds", "2", "--out", str(sweep))
    assert (outcome["ended_before"], outcome["ended"], outcome["left"]) == (2, 0, 0)
    assert not (sweep / "part_02").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_is_repeated_alone_to_the_bit(sweep: Path, tmp_path: Path):
    (run,) = (run for run in read_sweep(sweep).runs if run.seed == 1)
    trial = str(sweep / "CartPole-v1-seed-1")
    again = trained("train", "--from-trial", trial, "--out", str(tmp_path / "run"))
    assert again["returns"] == run.rows[-1]["evaluation_returns"]
    assert (again["seed"], again["env_steps"]) == (1, run.rows[-1]["env_steps"])
    (alone,) = json.loads((tmp_path / "run" / "machine.json").read_text())
    assert [one["config_hash"] for one in run.machines] == [alone["config_hash"]]


@pytest.mark.slow
@pytest.mark.ray
def test_a_trials_folder_can_be_evaluated(sweep: Path):
    done = ez_process("evaluate", str(sweep / "part_01" / "CartPole-v1-seed-0"), "--episodes", "2")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_seeds_are_added(sweep: Path):
    outcome = trained(*SWEEP, "--seeds", "0,1,5", "--out", str(sweep))
    assert (outcome["ended_before"], outcome["ended"], outcome["part"]) == (2, 1, "part_02")
    assert [run.seed for run in read_sweep(sweep).runs if run.is_finished] == [0, 1, 5]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("what", ["driver", "sigterm"])
def test_a_sweep_goes_on_as_if_nothing_had_been(
    what: str, undisturbed: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sweep_faults, "SWEEP", [*SWEEP, "--seeds", "2", "--json"])
    told = sweep_faults.disturbed(what, tmp_path / "sweep", undisturbed)
    assert {name: told[name] for name in ("twice", "lost", "differ")} == {
        "twice": 0, "lost": 0, "differ": 0,
    }  # fmt: skip
    assert told["exit_code"] == {"driver": -signal.SIGKILL, "sigterm": 0}[what]
    assert told["finished"] == 2
    assert told["attempts"] > 2


# Two nodes of two CPUs each; the second is killed at a line of stdin, all end with the next.
NODES = """
import sys, warnings
warnings.simplefilter("ignore")
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
second = cluster.add_node(num_cpus=2)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.ray
def test_trials_of_a_killed_node_go_on_on_another_one(tmp_path: Path):
    out, pipe = tmp_path / "sweep", subprocess.PIPE
    order = [*SWEEP, "--seeds", "4", "--max-concurrent", "4", "--out", f"file://{out}"]
    with subprocess.Popen(
        [sys.executable, "-c", NODES], stdin=pipe, stdout=pipe, text=True
    ) as nodes:
        with ez_background(*order, "--address", nodes.stdout.readline().strip()) as command:
            wait_for(lambda: sum(run.checkpoint is not None for run in runs_of(out)) == 4)
            print(file=nodes.stdin, flush=True)
            assert command.wait(240) == 0
        nodes.communicate("\n", timeout=60)
    runs = runs_of(out)
    assert [run.is_finished for run in runs] == [True] * 4
    assert max(len({row["attempt"] for row in run.rows}) for run in runs) == 2
    assert len({tuple(row["progress"] for row in run.rows) for run in runs}) == 1


def runs_of(out: Path) -> list[Run]:
    """What the trials have reported so far."""
    return read_sweep(out).runs if (out / "sweep.yaml").is_file() else []


def test_what_cannot_fit_is_refused_before_anything_starts(tmp_path: Path):
    done = ez(*SWEEP, "--set", "num_env_runners=500", "--out", str(tmp_path / "sweep"))
    assert done.exit_code == 2
    assert "needs 501 CPUs in all where there are" in " ".join(done.stderr.split())
    assert not (tmp_path / "sweep").exists()


def test_another_sweep_in_the_folder_is_refused(sweep_yaml: Path):
    done = ez(*SWEEP, "--env-steps", "500", "--seeds", "1", "--out", str(sweep_yaml.parent))
    assert done.exit_code == 2
    assert "must be as in the sweep that the folder holds" in " ".join(done.stderr.split())


@pytest.fixture
def sweep_yaml(tmp_path: Path) -> Path:
    """The order of a sweep that has not begun."""
    from cli.tune_order import chosen

    assignments = [part.removeprefix("--set=") for part in SMALL if part.startswith("--set=")]
    options = {"env_steps": STEPS, "evaluation_duration": 2}
    options |= {"checkpoint_every": 100, "evaluate_every": 500}
    order = chosen(
        "CartPole-v1", seeds="1", presets=[], assignments=assignments, options=options,
        space=None, num_samples=None, out=str(tmp_path),
    )["order"]  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(order.as_yaml())
    return path

"""Several raylets on one machine: work is spread over nodes, and a node may vanish.

Run in a process of its own: Ray can be connected to one cluster at a time.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = """
    import warnings
    warnings.simplefilter("ignore")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 4, "include_dashboard": False},
    )
    doomed = cluster.add_node(num_cpus=2, resources={"for_runners": 2})
    import ray
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")

    from tests.algorithm.conftest import small_cartpole
    from tests.algorithm.kills import assert_exact, call, train_until

    config = small_cartpole().training(num_replay_shards=1, num_reanalyse_actors=1)
    config.num_env_runners, config.num_learners = 2, 1
    config.custom_resources_per_env_runner = {"for_runners": 1}
    algorithm = config.build_algo()
    pipeline = algorithm.pipeline
    runners = pipeline.sampling.runners
    train_until(algorithm, lambda: pipeline.num_updates >= 20)
    for runner in runners:
        node = call(runner.worker, lambda _: ray.get_runtime_context().get_node_id())
        assert node == doomed.node_id

    steps = pipeline.num_env_steps
    cluster.remove_node(doomed, allow_graceful=False)
    cluster.add_node(num_cpus=2, resources={"for_runners": 2})
    train_until(algorithm, lambda: pipeline.sampling.num_lost >= 2)
    train_until(algorithm, lambda: all(r.birth is not None for r in runners), seconds=90)
    train_until(algorithm, lambda: pipeline.num_env_steps > steps + 300)
    assert_exact(algorithm)
    print("exact after the loss", pipeline.num_env_steps, pipeline.num_updates, flush=True)
    algorithm.stop()
    ray.shutdown()
    cluster.shutdown()
"""


def test_training_goes_on_when_the_node_of_its_env_runners_vanishes(tmp_path):
    script = tmp_path / "cluster.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, timeout=150, env=env, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "exact after the loss" in done.stdout

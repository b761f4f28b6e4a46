"""Learning, in short: far above random play after a few thousand steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EZ = str(Path(sys.executable).with_name("ez"))


@pytest.mark.slow
@pytest.mark.ray
def test_cartpole_is_far_above_random_after_3000_steps(tmp_path):
    """Random play scores about 22; solved is 475. The long form: benchmarks/learning.py."""
    command = [EZ, "train", "--env", "cartpole", "--seed", "1", "--env-steps", "3000"]
    command += ["--evaluate-every", "0", "--threads", "1", "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert summary["env_steps"] == 3016
    assert summary["updates"] == 754
    assert summary["return_mean"] > 100

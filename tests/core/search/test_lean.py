from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rllib_ez

CALL = """
import numpy as np
from rllib_ez.core.search.kernels import select_row
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search.plan import Plan
from rllib_ez.core.search.tree import Edge, Rules, Tree

prior, one = np.array([[0.3, 0.7]], np.float32), np.ones(1, np.float32)
config, edge = SearchConfig(), Edge.blank(1)
tree = Tree.plant(prior, one, nodes=3)
plan = Plan.of(
    config, prior, budget=np.array([2], np.int32), legal=np.ones((1, 2), bool),
    seed=np.zeros(1, np.uint64), noise=False,
)
select_row(tree, Rules.of(config, num_simulations=2), plan, edge, 0, 0)
print(edge.action[0], sum(select_row.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_an_edit_of_another_file_is_noticed(tmp_path: Path):
    """select_row stands in kernels.py; what it calls to score, in puct.py."""
    source = Path(rllib_ez.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "rllib_ez", ignore=ignored)
    assert chosen(tmp_path) == "1 0"
    assert chosen(tmp_path) == "1 1"
    puct = tmp_path / "rllib_ez/core/search/puct.py"
    puct.write_text(puct.read_text().replace("untried + bonus", "untried - bonus"))
    assert chosen(tmp_path) == "0 0"


def chosen(folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", CALL], env=environment, capture_output=True, text=True, check=True,
        cwd=folder,
    )  # fmt: skip
    return done.stdout.strip()

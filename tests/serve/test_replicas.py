"""Two replicas behind one address: what an admin changes reaches both, sessions survive both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rllib_ez.agent import Agent
from tests.serve.test_deployment import Served, serving, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, pixel_agent: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pair")
    with serving(folder, f"{pixel_agent}=pixel", "--replicas", "2", agent=pixel_agent) as served:
        yield served


def loaded_versions(served: Served) -> list[list[int]]:
    """What each replica has loaded, by its log."""
    return [
        [
            entry["version"]
            for entry in map(json.loads, path.read_text().splitlines())
            if entry["event"] == "loaded"
        ]
        for path in sorted(served.logs.glob("replica-*.jsonl"))
    ]


def test_an_admins_change_reaches_both(pair: Served):
    wait_until(lambda: loaded_versions(pair) == [[1], [1]], seconds=60)  # one was enough to serve
    pair.admin("pixel/load", {"checkpoint": str(pair.agent)})
    wait_until(lambda: loaded_versions(pair) == [[1, 2], [1, 2]], seconds=20)


def test_a_session_plays_as_the_local_agent_whichever_replica_answers(pair: Served):
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    padded = np.concatenate((frames[[0, 0]], frames))
    stacks = np.stack([padded[i : i + 3] for i in range(12)])
    local = Agent.load(pair.agent).search(stacks, seeds=np.arange(12, dtype=np.uint64))
    with pair.client(model="pixel") as client, client.session() as session:
        remote = [
            session.search(frame, reset=i == 0, seed=i, include=["value"]).root_value[0]
            for i, frame in enumerate(frames)
        ]
    np.testing.assert_array_equal(remote, local.root_value)

"""Our searches behind the line protocol of the peers' benchmark (see `benchmarks/search.py`).

kind tree: the network is a table to look up in, so that what is left is the search.
kind net: our network with randomised heads; the time in it is a run of the network alone.
Methods: puct, gumbel; root noise on, results on the host. EZ_PEERS names the peers' folder,
EZ_ENGINE the engine under the network (auto, compiled, torch).
Axes: B roots, A actions.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = Path(os.environ.get("EZ_PEERS", ROOT.parent / "shared" / "peers"))
sys.path[:0] = [str(ROOT), str(PEERS)]
# Before anything prints: both give stdout to the protocol.
_SHARED = (PEERS / "worker_common.py").is_file()
protocol = importlib.import_module("worker_common" if _SHARED else "benchmarks.worker_protocol")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from rllib_ez.core.compiled.grow import run_search  # noqa: E402
from rllib_ez.core.compiled.store import Store  # noqa: E402
from rllib_ez.core.compiled.table import TableNet, TableWork  # noqa: E402
from rllib_ez.core.config import ModelConfig, SearchConfig  # noqa: E402
from rllib_ez.core.networks import EfficientZeroModel  # noqa: E402
from rllib_ez.core.search.estimates import RootEstimate  # noqa: E402
from rllib_ez.core.search.plan import Conclusion, Plan  # noqa: E402
from rllib_ez.core.search.tree import Rules, Tree  # noqa: E402
from rllib_ez.core.search_timing import SearchRun, load_engine, random_observations  # noqa: E402

METHODS = ("puct", "gumbel")
ENGINE = os.environ.get("EZ_ENGINE", "auto")
TABLE_STATES = 1024
# The sizes of the peers' models: LightZero's CartPole MLP and its Atari network at 64x64.
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {
        "network": "vector",
        "frame_shape": (4,),
        "hidden_size": 128,
        "lstm_size": 128,
        "head_hidden_size": 32,
        "value_bins": 601,
        "value_prefix_bins": 601,
    },
    "atari64": {
        "network": "pixel",
        "frame_shape": (64, 64, 1),
        "frame_stack": 4,
        "downsampling": 8,
        "latent_channels": 64,
        "lstm_size": 512,
        "value_bins": 101,
        "value_prefix_bins": 101,
    },
}


class Table:
    """A world of random tables in place of a network: what is timed is all but the network."""

    def __init__(self, batch: int, actions: int, *, zero: bool) -> None:
        rng = np.random.default_rng(1)
        size, scale = (TABLE_STATES, actions), 0.0 if zero else 1.0
        weights = np.exp(rng.standard_normal(size))
        self.net = TableNet(
            next_state=rng.integers(TABLE_STATES, size=size),
            reward=(scale * 0.1 * rng.standard_normal(size)).astype(np.float32),
            prior=(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
            value=(scale * rng.standard_normal(TABLE_STATES)).astype(np.float32),
        )
        self.states = rng.integers(TABLE_STATES, size=batch)  # of the roots

    def root(self, observation: np.ndarray) -> RootEstimate:
        """The table's entries for the roots."""
        latent = torch.from_numpy(self.states[:, None].astype(np.float32))
        return RootEstimate(latent, self.net.prior[self.states], self.net.value[self.states])

    def run(self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan) -> Conclusion:
        """What `CompiledModel.run` does, on one thread."""
        batch, nodes = tree.visits.shape
        store = Store.make(batch, nodes, latent=1, memory=1)
        store.latent[:, 0] = latent.numpy()
        return run_search(self.net, TableWork(batch), store, tree, rules, plan)


def network_run(case: dict[str, Any], config: SearchConfig) -> tuple[SearchRun, int]:
    """Our network of a case, with heads that say something, and its number of parameters."""
    model = ModelConfig(num_actions=case["A"], **NETWORKS[case["model"]])
    torch.manual_seed(0)
    network = EfficientZeroModel(model)
    randomise_zero_heads(network)
    weights = network.inference_state_dict()
    counted = [name for name, _ in network.named_parameters() if name in weights]
    observations = random_observations(model, case["B"], seed=2)
    engine = load_engine(model, weights, engine=ENGINE)
    run = SearchRun(engine, config, observations, root_noise=True)
    return run, sum(weights[name].numel() for name in counted)


def randomise_zero_heads(network: EfficientZeroModel) -> None:
    """Heads that start at 0 would make a degenerate tree; as worker_lightzero.py does it."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() >= 2 and not parameter.any():
                parameter.normal_(0, 0.3 / parameter.shape[1] ** 0.5)


class Worker:
    """rllib_ez."""

    def hello(self) -> dict[str, Any]:
        """Name, versions, threads."""
        return {
            "name": "rllib_ez",
            "engine": ENGINE,
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("rllib-ez", "torch", "numba", "numpy")},
        }

    def prepare(self, case: dict[str, Any]) -> Any:
        """What runs a case, and what tells about it."""
        if case["method"] not in METHODS:
            return f"no such method: {case['method']}"
        config = SearchConfig(
            num_simulations=case["S"], search_method=case["method"], discount=protocol.DISCOUNT
        )
        if case["kind"] == "net":
            run, parameters = network_run(case, config)
            return Search(run, run.network), lambda: {"parameters": parameters, **visits_of(run)}
        table: Any = Table(case["B"], case["A"], zero=case.get("values") == "zero")
        run = SearchRun(table, config, np.zeros((case["B"], 1)), root_noise=True)
        return Search(run, None), lambda: visits_of(run)


class Search:
    """One search as the protocol calls it: it returns None, and may have a `net_only`."""

    def __init__(self, run: SearchRun, net_only: Callable[[], None] | None) -> None:
        self.run, self.net_only = run, net_only

    def __call__(self) -> None:
        """Searches."""
        self.run.search()


def visits_of(run: SearchRun) -> dict[str, Any]:
    """Visits of the first root in one more search."""
    return {"root0_visits": run.search().visit_counts[0].tolist()}


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    protocol.serve(Worker())

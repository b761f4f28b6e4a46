"""How long one imagined step takes, by engine, network, batch size and number of threads.

    python -m benchmarks.engines

Torch and ONNX Runtime keep a pool of threads each, which wait by spinning: so an engine runs for
a while alone, and every engine has several turns, of which the quietest counts: the machine may
be shared. Writes benchmarks/results/engines/: engines.json and table.md.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from rllib_ez.core.compiled.chain import run_chain
from rllib_ez.core.compiled.model import CompiledModel
from rllib_ez.core.compiled.store import Store
from rllib_ez.core.config import ModelConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.onnx_graph import draw_graphs
from rllib_ez.core.onnx_model import OnnxModel
from rllib_ez.core.search.tree import Answer, Edge
from rllib_ez.runs.allocator import keep_freed_memory

FOLDER = Path(__file__).parent / "results" / "engines"
BATCH_SIZES, NUM_THREADS = (1, 8, 32, 256), (1, 2)
TURNS, TURN_SECONDS, TURN_CALLS = 6, 0.08, 3  # a turn is so long, and so many calls at least
NETWORKS = {
    "vector 64": ModelConfig(hidden_size=64),
    "vector 128, 601 bins": ModelConfig(
        hidden_size=128, value_range=300.0, value_bins=601,
        value_prefix_range=300.0, value_prefix_bins=601,
    ),
    "pixel, the paper's": ModelConfig(
        network="pixel", frame_shape=(96, 96, 3), frame_stack=4, num_actions=6,
        latent_channels=64, lstm_size=512, value_range=300.0, value_bins=601,
        value_prefix_range=300.0, value_prefix_bins=601,
    ),
}  # fmt: skip

Inputs = tuple[Tensor, Tensor, Tensor]  # latent [B, ...], memory [2, B, M], action [B] i64
Step = Callable[[Tensor, Tensor, Tensor], Any]  # what comes out has a `latent`


def torch_eager(network: EfficientZeroModel, num_threads: int) -> Step:
    """What acting uses without any of this."""
    return InferenceModel(network).step


def torch_autocast(network: EfficientZeroModel, num_threads: int) -> Step:
    """f32 weights, matrix products in bf16."""
    model = InferenceModel(network)

    def step(*inputs: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            out = model.network.step(*inputs)
        return in_reward_units(model.network, out)

    return step


def torch_bf16(network: EfficientZeroModel, num_threads: int) -> Step:
    """Everything in bf16, latents and memory too."""
    half = copy.deepcopy(network).to(torch.bfloat16)

    def step(latent: Tensor, memory: Tensor, action: Tensor) -> Any:
        with torch.inference_mode():
            out = half.step(latent.bfloat16(), memory.bfloat16(), action)
            return in_reward_units(half, out)

    return step


def in_reward_units(network: EfficientZeroModel, out: Any) -> Any:
    """What `InferenceModel` does after the network."""
    with torch.inference_mode():
        torch.softmax(out.policy_logits.float(), dim=-1).numpy()
        network.value_support.expectation(out.value_logits).numpy()
        network.value_prefix_support.expectation(out.value_prefix_logits).numpy()
    return out


def onnx_run(network: EfficientZeroModel, num_threads: int) -> Step:
    """ONNX Runtime's plain `run`."""
    return OnnxModel(network, num_threads=num_threads).step


class Bound:
    """ONNX Runtime with its inputs and outputs bound to fresh tensors at every call."""

    def __init__(self, network: EfficientZeroModel, num_threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self._config = network.config
        self._session = onnxruntime.InferenceSession(
            draw_graphs(network).step.whole().SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )

    def __call__(self, latent: Tensor, memory: Tensor, action: Tensor) -> Any:
        """The step; f32 and i64, in the order of the graph."""
        batch, binding = len(action), self._session.io_binding()
        scalars = torch.empty(batch), torch.empty(batch)
        prior = torch.empty(batch, self._config.num_actions)
        made = (torch.empty_like(latent), torch.empty_like(memory), prior, *scalars)
        for port, x in zip(self._session.get_inputs(), (latent, memory, action), strict=True):
            kind = np.int64 if x.dtype == torch.int64 else np.float32
            binding.bind_input(port.name, "cpu", 0, kind, tuple(x.shape), x.data_ptr())
        for port, x in zip(self._session.get_outputs(), made, strict=True):
            binding.bind_output(port.name, "cpu", 0, np.float32, tuple(x.shape), x.data_ptr())
        self._session.run_with_iobinding(binding)
        return argparse.Namespace(latent=made[0])


class Compiled:
    """Our own machine code, as a search runs it: `STEPS` steps in a row without Python."""

    STEPS = 16

    def __init__(self, network: EfficientZeroModel, num_threads: int) -> None:
        self._model = CompiledModel(network)

    def __call__(self, latent: Tensor, memory: Tensor, action: Tensor) -> Any:
        """`STEPS` steps from these latents; each from the one before, no memory at first."""
        return run_chain(self._model, self._flat(latent), self.STEPS)

    def once(self, latent: Tensor, memory: Tensor, action: Tensor) -> Any:
        """One step, for the comparison."""
        model, batch = self._model, len(action)
        store = Store.make(batch, 2, latent=model.latent_size, memory=model.memory_size)
        store.latent[:, 0] = self._flat(latent)
        store.memory[:, 0] = np.concatenate(memory.numpy(), axis=1)
        edge = Edge(np.zeros(batch, np.int32), action.numpy(), np.zeros(batch, np.bool_))
        answer = Answer.blank(batch, model.network.config.num_actions)
        model.kind.step(
            model.net, model.kind.make_work(model.net, batch), store, 1, batch, edge, answer
        )
        shape = tuple(np.roll(latent.shape[1:], -1))  # pixels: channels last
        after = torch.from_numpy(store.latent[:, 1]).view(batch, *shape)
        return argparse.Namespace(latent=after.movedim(-1, 1))

    def _flat(self, latent: Tensor) -> np.ndarray:
        return latent.movedim(1, -1).reshape(len(latent), -1).numpy()


# The place for one more engine: a name, and what makes its step for a number of threads.
ENGINES: dict[str, Callable[[EfficientZeroModel, int], Step]] = {
    "torch": torch_eager,
    "torch, bf16 autocast": torch_autocast,
    "torch, bf16 weights": torch_bf16,
    "onnxruntime": onnx_run,
    "onnxruntime, bound": Bound,
    "compiled (ours)": Compiled,
}


def main() -> None:
    """Measures and writes."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    keep_freed_memory()  # as `ez train` does
    report: dict[str, Any] = {
        "machine": describe_machine() | {"onnxruntime": version("onnxruntime")},
        "command": " ".join(["python -m benchmarks.engines", *sys.argv[1:]]),
        "unit": "ms per step, median over the calls of the quietest turn",
        "rows": [],
    }
    for (name, config), threads in itertools.product(NETWORKS.items(), NUM_THREADS):
        for batch in BATCH_SIZES:
            row = {"network": name, "threads": threads, "batch": batch}
            report["rows"].append(row | measured(restless(config), batch, threads))
            print(json.dumps(report["rows"][-1]["milliseconds"]), name, threads, batch, flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "engines.json").write_text(json.dumps(report, indent=1) + "\n")
    (FOLDER / "table.md").write_text(table(report))
    print(table(report))


def restless(config: ModelConfig) -> EfficientZeroModel:
    """An untrained network whose heads say something."""
    torch.manual_seed(0)
    network = EfficientZeroModel(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=1 / parameter[0].numel() ** 0.5)
    return network


def measured(network: EfficientZeroModel, batch: int, num_threads: int) -> dict[str, Any]:
    """Milliseconds of every engine, and how far its latent is from torch's."""
    torch.set_num_threads(num_threads)
    latent = torch.randn(batch, *network.trunk.latent_shape)
    memory = torch.randn(2, batch, network.config.lstm_size)
    inputs = (latent, memory, torch.arange(batch) % network.config.num_actions)
    steps = {name: make(network, num_threads) for name, make in ENGINES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    expected = steps["torch"](*inputs).latent
    differences = {}
    for _, (name, step) in itertools.product(range(TURNS), steps.items()):
        latent = getattr(step, "once", step)(*inputs).latent.float()
        difference = (latent - expected).abs().max() / expected.abs().max()
        differences[name] = float(f"{difference:.2g}")
        time.sleep(0.01)  # the other pools fall asleep
        steps_a_call = getattr(step, "STEPS", 1)
        seconds[name].append(statistics.median(one_turn(step, inputs)) / steps_a_call)
    quietest = {name: round(min(turns) * 1e3, 4) for name, turns in seconds.items()}
    return {"milliseconds": quietest, "latent_difference": differences}


def one_turn(step: Step, inputs: Inputs) -> list[float]:
    """Seconds of each call, the first two left out."""
    for _ in range(2):
        step(*inputs)
    times: list[float] = []
    end = time.perf_counter() + TURN_SECONDS
    while len(times) < TURN_CALLS or time.perf_counter() < end:
        began = time.perf_counter()
        step(*inputs)
        times.append(time.perf_counter() - began)
    return times


def table(report: dict[str, Any]) -> str:
    """The rows as Markdown, the fastest of each in bold."""
    names = list(report["rows"][0]["milliseconds"])
    lines = [f"| network | threads | B | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for row in report["rows"]:
        values = row["milliseconds"]
        best = min(values.values())
        cells = [f"**{v:.3g}**" if v == best else f"{v:.3g}" for v in values.values()]
        lines.append(
            f"| {row['network']} | {row['threads']} | {row['batch']} | {' | '.join(cells)} |"
        )
    machine = report["machine"]
    worst = {n: max(row["latent_difference"][n] for row in report["rows"]) for n in names}
    lines += [
        "",
        "ms per imagined step, median of the quietest turn; ours as in a search, 16 in a row. "
        "Largest difference of a latent from "
        f"torch's in f32, as a share of its largest entry: "
        f"{', '.join(f'{n} {d:.1g}' for n, d in worst.items())}.",
        "",
        f"{machine['processor']}, {machine['cpus']} cores, load "
        f"{machine['load_average'][0]:.1f} at the start; torch {machine['torch']}, onnxruntime "
        f"{machine['onnxruntime']}, commit {machine['commit']}.",
        "",
        f"    {report['command']}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

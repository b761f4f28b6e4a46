"""Gradient updates a second of the paper's network on a GPU, beside the fastest matrix product.

    python -m benchmarks.gpu_learner --out benchmarks/results/gpu_learner

Batch 256, unroll 5, observations 96x96x12: in f32 (TF32 convolutions), and in bf16 by autocast.
Writes result.json after every case; ends with status 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import paper
from rllib_ez.core.config import ComputeConfig

BATCH, UNROLL_STEPS = 256, 5
TFLOP = 0.75  # an update: reference/EFFICIENTZERO.md, 1.10
FORMS = {
    "f32": ComputeConfig(),
    "bf16": ComputeConfig(learner_precision="bfloat16"),
    "bf16 channels_last": ComputeConfig(learner_precision="bfloat16", channels_last=True),
}


def main() -> None:
    """Measures form after form; one that fails is noted, and the next begins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0, help="per number measured")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu_learner needs a CUDA device: there is none")
        sys.exit(2)
    options.out.mkdir(parents=True, exist_ok=True)
    peak = matrix_product_tflops()
    print(f"matrix product 8192^3 bf16: {peak:.0f} TFLOP/s", flush=True)
    report: dict[str, Any] = {"machine": paper.machine(), "peak_tflops": peak, "cases": []}
    for form, compute in FORMS.items():
        case: dict[str, Any] = {"form": form}
        try:
            ms = update_ms(compute, seconds=options.seconds)
            achieved = TFLOP / (ms * 1e-3)
            case |= {"update_ms": ms, "updates_per_s": 1e3 / ms, "tflops": achieved}
            case |= {"share_of_peak": achieved / peak}
            case |= {"peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30}
        except Exception as error:  # the next form may work
            case["error"] = f"{type(error).__name__}: {error}"
        report["cases"].append(case)
        numbers = ", ".join(
            f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in case.items()
            if k != "form"
        )
        print(f"learner batch={BATCH} unroll={UNROLL_STEPS} {form}: {numbers}", flush=True)
        (options.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")


def matrix_product_tflops() -> float:
    """What the device reaches at best: random bf16, 8192 x 8192 x 8192."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    ms = paper.median_ms(lambda: a @ b, seconds=1.0)
    return 2 * size**3 / (ms * 1e-3) / 1e12


def update_ms(compute: ComputeConfig, *, seconds: float) -> float:
    """One update: losses, backward, clipping, step; the batch is on the device already."""
    from rllib_ez.core.compute import autocast, prepare_network
    from rllib_ez.core.config import LossConfig, OptimizerConfig
    from rllib_ez.core.losses import losses
    from rllib_ez.core.trainer import Optimizer, make_optimizer, to_tensors

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = paper.network().cuda().train()
    prepare_network(model, compute)
    config = OptimizerConfig(optimizer_name="sgd", learning_rate=1e-3)
    optimizer = Optimizer(make_optimizer(model.parameters(), config), config)
    tensors = to_tensors(paper.train_batch(BATCH, UNROLL_STEPS), "cuda")
    rng = np.random.default_rng(2)

    def update() -> None:
        with autocast(compute, torch.device("cuda")):
            out = losses(
                model, tensors, config=LossConfig(), lstm_horizon=paper.LSTM_HORIZON, rng=rng
            )
        optimizer.step(out["total"], update=0)

    return paper.median_ms(update, seconds=seconds)


if __name__ == "__main__":
    main()

"""The lean learner: one gradient update per batch, nothing of RLlib's per-update machinery."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData

from rllib_ez.algorithm.workers import Passed, value_of
from rllib_ez.core.compute import denormals_as_zero, prepare_network
from rllib_ez.core.config import ComputeConfig, OptimizerConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.trainer import (
    Optimizer,
    Step,
    StepResult,
    finished,
    make_optimizer,
    step_results,
    to_tensors,
)
from rllib_ez.core.types import TrainBatch


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What some gradient updates left behind."""

    results: list[StepResult]
    metrics: dict[str, Any]  # RLlib's
    seconds: dict[str, float]  # by stage


class EfficientZeroLearner(TorchLearner):
    """Takes ready-made batches, returns losses and priorities."""

    def build(self) -> None:
        """Builds module and optimiser; counts updates from 0."""
        super().build()
        # Arrays from the object store are read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self.num_updates = 0
        self._last_batches: list[TrainBatch] = []  # of the last call, where they are needed again
        prepare_network(self._model, self.config.stage(ComputeConfig))

    @property
    def _model(self) -> EfficientZeroModel:
        model: EfficientZeroModel = self.module[DEFAULT_MODULE_ID].unwrapped().model
        return model

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers our optimiser; its learning rate is set at each update."""
        parameters = self.get_parameters(self.module[module_id])
        settings = self.config.stage(OptimizerConfig)
        optimizer = make_optimizer(parameters, settings)
        self._optimizer = Optimizer(optimizer, settings)
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimizer,
            params=list(parameters),
            lr_or_lr_schedule=settings.learning_rate,
        )

    def update(self, *args: Any, training_data: TrainingData, **kwargs: Any) -> dict[str, Any]:
        """RLlib's door: one gradient update per batch of `training_data`, in order."""
        return self.learn(training_data.batch or training_data.batch_refs)[0].metrics

    def learn(self, batches: Sequence[Passed]) -> tuple[LearnReport]:
        """One gradient update per batch, in order.

        Args:
            batches: `TrainBatch`es or references to them; this learner's parts of them.
        """
        start = time.perf_counter()
        batches = [value_of(one) for one in batches]
        if self._device.type == "cuda":  # frames are gathered in the other threads' queue
            torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
        got = time.perf_counter()
        with denormals_as_zero():
            results = step_results([self._update_once(batch) for batch in batches])
        if self.config.stage(OptimizerConfig).precise_batch_norm:
            self._last_batches = batches
        self._log(results, num_samples=sum(len(batch.is_weight) for batch in batches))
        seconds = {"transfer": got - start, "learn": time.perf_counter() - got}
        return (LearnReport(results, self.metrics.reduce(), seconds),)

    def begin_thread(self, num_threads: int) -> None:
        """Called first by a thread that is to learn: it gets a queue of its own on a GPU.

        Args:
            num_threads: of torch's products on a CPU, which every thread chooses for itself.
        """
        torch.set_num_threads(num_threads)
        if self._device.type == "cuda":
            torch.cuda.set_stream(torch.cuda.Stream(self._device))

    def publish(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The number of updates made, and a copy, on the CPU, of what acting needs."""
        batches = [to_tensors(batch, self._device) for batch in self._last_batches]
        self.module[DEFAULT_MODULE_ID].unwrapped().renew_statistics(batches)
        state = self._model.inference_state_dict()
        weights = {name: plain_copy(tensor) for name, tensor in state.items()}
        return self.num_updates, weights

    def _update_once(self, batch: TrainBatch) -> Step:
        module = self.module[DEFAULT_MODULE_ID]
        module.train()
        update = self.num_updates
        tensors = to_tensors(batch, self._device)
        out = module.forward_train(
            {"tensors": tensors, "update": update, "learner": self._learner_index}
        )
        norm, rate = self._optimizer.step(out["total"], update=update)
        self.num_updates += 1
        self._weights_seq_no += 1
        return finished(out, batch, update=update, norm=norm, learning_rate=rate)

    def _log(self, results: list[StepResult], *, num_samples: int) -> None:
        for name in results[0].losses:
            mean = sum(result.losses[name] for result in results) / len(results)
            key = "total_loss" if name == "total" else f"{name}_loss"
            self.metrics.log_value((DEFAULT_MODULE_ID, key), mean, window=20)
        last = results[-1]
        self.metrics.log_value((DEFAULT_MODULE_ID, "grad_norm"), last.grad_norm, window=20)
        self.metrics.log_value((DEFAULT_MODULE_ID, "learning_rate"), last.learning_rate, window=1)
        for key in ("num_updates_lifetime", "num_module_steps_trained_lifetime"):
            count = len(results) if key == "num_updates_lifetime" else num_samples
            self.metrics.log_value((DEFAULT_MODULE_ID, key), count, reduce="lifetime_sum")

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """Not used: RLlib's stock update would call this, ours does not."""
        raise NotImplementedError("EfficientZeroLearner.update computes its losses itself")

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and the number of updates."""
        state = super().get_state(*args, **kwargs)
        state["num_updates"] = self.num_updates
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`; also into a learner that has gone further (a rollback)."""
        if "num_updates" in state:
            self.num_updates = state["num_updates"]
            self._weights_seq_no = 0  # else RLlib keeps the newer weights
            self._last_batches = []  # those weights come with their statistics
        super().set_state(state)


def plain_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU, in the usual memory format."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)

"""The network on ONNX Runtime, in the place of `InferenceModel` on a CPU.

Axes: B roots, L frame_stack, M lstm_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.onnx_contract import ROOT_FILE, STEP_FILE, read_contract
from rllib_ez.core.onnx_graph import Graph, draw_graphs
from rllib_ez.core.onnx_layers import required
from rllib_ez.core.onnx_ports import default_frame_dtype
from rllib_ez.core.search.estimates import RootEstimate, StepEstimate
from rllib_ez.errors import CheckpointError, ObservationError

SMALL = 64  # bytes; numbers and shapes stay inside the graph, where the optimiser looks for them


class OnnxModel:
    """Says what `InferenceModel` says, to about 1e-6 of a latent's largest entry.

    Rows are computed alone, but like torch's their last bits may vary with the batch's size.
    """

    def __init__(
        self,
        network: EfficientZeroModel,
        *,
        frame_dtype: str | None = None,
        num_threads: int = 1,
    ) -> None:
        """Takes the weights by value: see `refresh`.

        Args:
            network: to be computed; is put into evaluation mode, and `load` writes to it.
            frame_dtype: of one frame; None: uint8 for pixels, float32 otherwise.
            num_threads: of one call, the caller's included, >= 1.
        """
        self._describe(network.config, frame_dtype, num_threads)
        self._reference: InferenceModel | None = InferenceModel(network)
        self.refresh()

    @classmethod
    def from_folder(cls, folder: str | Path, *, num_threads: int = 1) -> OnnxModel:
        """Runs what `ez export` wrote.

        Raises:
            CheckpointError: nothing there, not ours, of a newer format, or a file was changed.
        """
        card = read_contract(folder).card
        self = cls.__new__(cls)
        self._describe(card.model, card.frame_dtype, num_threads)
        self._reference = None  # until `load`
        try:
            paths = [str(Path(folder) / name) for name in (ROOT_FILE, STEP_FILE)]
            self._use(*(_session(path, num_threads) for path in paths))
        except Exception as error:  # ONNX Runtime raises many kinds
            if type(error).__module__.startswith("onnxruntime"):
                raise CheckpointError(
                    f"graphs must run on this ONNX Runtime, got {error} in {str(folder)!r}"
                ) from error
            raise
        return self

    def _describe(self, config: ModelConfig, frame_dtype: str | None, num_threads: int) -> None:
        self.config = config
        self.memory_size = config.lstm_size
        self.frame_dtype = np.dtype(frame_dtype or default_frame_dtype(config))
        self._num_threads = num_threads

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over weights, by value; the SimSiam parts may be missing.

        Raises:
            RuntimeError: a name or a shape does not fit the network.
        """
        if self._reference is None:
            self._reference = InferenceModel.blank(self.config)
        self._reference.load(weights)
        self.refresh()

    def refresh(self) -> None:
        """Takes over what the network's weights are now; an exported folder's never change."""
        if self._reference is None:
            return
        graphs = draw_graphs(self._reference.network, frame_dtype=str(self.frame_dtype))
        self._kept = graphs  # the sessions read these arrays in place
        self._use(*(_session(graph, self._num_threads) for graph in graphs))

    def root(self, observation: np.ndarray) -> RootEstimate:
        """Looks at real observations [B, L, *frame].

        Raises:
            ObservationError: not uint8 where the graph takes uint8.
        """
        if self.frame_dtype == np.uint8 and observation.dtype != np.uint8:
            raise ObservationError(f"observation must be uint8, got {observation.dtype}")
        frames = np.asarray(observation, self.frame_dtype)
        latent, prior, value = self._root.run(self._root_names, {"observation": frames})
        return RootEstimate(torch.from_numpy(latent), prior, value)

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        """Imagines one step: latent [B, ...], memory [2, B, M], action [B] i64."""
        # Plain `run`: binding fresh buffers takes 25 us a call and saves less (measured).
        feed = {"latent": latent.numpy(), "memory": memory.numpy(), "action": action.numpy()}
        latent_next, memory_next, *numbers = self._step.run(self._step_names, feed)
        return StepEstimate(torch.from_numpy(latent_next), torch.from_numpy(memory_next), *numbers)

    def _use(self, root: Any, step: Any) -> None:
        self._root, self._step = root, step
        self._root_names, self._step_names = (
            [port.name for port in session.get_outputs()] for session in (root, step)
        )


def _session(source: Graph | str, num_threads: int) -> Any:
    """An ONNX Runtime session of a graph, or of the file that holds one."""
    runtime = required("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    content: str | bytes
    if isinstance(source, str):
        content = source
    else:
        # Not `add_initializer`: that one enters after the optimiser, which by then has laid
        # convolutions out anew from the weights it saw.
        content, large = _hollow(source)
        values = [runtime.OrtValue.ortvalue_from_numpy(weight) for weight in large.values()]
        options.add_external_initializers(list(large), values)
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _hollow(graph: Graph) -> tuple[bytes, dict[str, np.ndarray]]:
    """The graph with places for its large weights, and those."""
    onnx = required("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(graph.nodes)
    large = {name: weight for name, weight in graph.weights.items() if weight.nbytes > SMALL}
    for name, weight in graph.weights.items():
        tensor = model.graph.initializer.add()
        if name not in large:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, name=name))
            continue
        tensor.name, tensor.data_type = name, onnx.TensorProto.FLOAT
        tensor.dims.extend(weight.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, text in (("location", "memory"), ("offset", "0"), ("length", str(weight.nbytes))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text
    return model.SerializeToString(), large

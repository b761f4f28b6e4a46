"""The network as two ONNX graphs, `root` and `step`: numbers instead of logits, as search sees it.

Written node by node and not by torch's exporter: every initializer is a plain function of the
weights, what the action adds is looked up, and no node computes shapes.

Axes: B samples, A actions, L frame_stack, M lstm_size, S bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.networks.pixel import PixelPrediction, PixelTrunk
from rllib_ez.core.onnx_layers import GraphBuilder, folded, required
from rllib_ez.core.onnx_ports import Port, Ports, default_frame_dtype, root_ports, step_ports
from rllib_ez.errors import SettingError

if TYPE_CHECKING:
    from onnx import ModelProto

LOWEST_OPSET = 17  # the first with LayerNormalization; what most runtimes read
HIGHEST_OPSET = 23  # of those that ONNX Runtime 1.23 computes


class Graph(NamedTuple):
    """One graph; the weights stand apart, so that many megabytes need not be copied to use it."""

    nodes: ModelProto  # names the initializers in no way
    weights: dict[str, np.ndarray]  # the initializers

    def whole(self) -> ModelProto:
        """With its weights, checked."""
        onnx = required("onnx")
        model = onnx.ModelProto()
        model.CopyFrom(self.nodes)
        tensor_of = onnx.numpy_helper.from_array
        model.graph.initializer.extend(tensor_of(w, name=key) for key, w in self.weights.items())
        onnx.checker.check_model(model, full_check=True)
        return cast("ModelProto", model)


class Graphs(NamedTuple):
    """Both graphs of a network."""

    root: Graph
    step: Graph


def draw_graphs(
    network: EfficientZeroModel, *, frame_dtype: str | None = None, opset: int = LOWEST_OPSET
) -> Graphs:
    """The network's two graphs; what goes in and comes out is told by their ports.

    Args:
        network: in evaluation mode.
        frame_dtype: of one frame, "uint8" or "float32"; None: as the kind of network has it.
        opset: version of the ONNX operators.

    Raises:
        SettingError: opset is out of range.
        EfficientZeroError: onnx is not installed.
    """
    if not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise SettingError(f"opset must be in {LOWEST_OPSET}..{HIGHEST_OPSET}, got {opset}")
    dtype = frame_dtype or default_frame_dtype(network.config)
    with torch.no_grad():
        return Graphs(_root_graph(network, dtype, opset), _step_graph(network, opset))


def _root_graph(network: EfficientZeroModel, frame_dtype: str, opset: int) -> Graph:
    graph = GraphBuilder(network)
    latent = _represent(graph, network, "observation")
    policy_logits, value_logits = _predict(graph, network, latent)
    mean = graph.mean_bin(value_logits, network.value_support, "value")
    rename = {
        latent: "latent",
        graph.op("Softmax", policy_logits, axis=-1): "prior",
        graph.op("Squeeze", graph.unscale(mean), graph.sizes(1)): "value",
    }
    ports = root_ports(network.config, network.trunk.latent_shape, frame_dtype=frame_dtype)
    return _finish(graph, "root", ports, rename=rename, opset=opset)


def _step_graph(network: EfficientZeroModel, opset: int) -> Graph:
    graph = GraphBuilder(network)
    latent = _transition(graph, network, "latent", "action")
    prefix_logits, memory = _accumulate(graph, network, latent, "memory")
    policy_logits, value_logits = _predict(graph, network, latent)
    means = (
        graph.mean_bin(value_logits, network.value_support, "value"),
        graph.mean_bin(prefix_logits, network.value_prefix_support, "value_prefix"),
    )
    both = graph.unscale(graph.op("Concat", *means, axis=1))  # [B, 2], one set of nodes for both
    value, prefix = graph.ops("Split", both, graph.sizes(1, 1), count=2, axis=1)
    rename = {
        latent: "next_latent",
        memory: "next_memory",
        graph.op("Softmax", policy_logits, axis=-1): "prior",
        graph.op("Squeeze", value, graph.sizes(1)): "value",
        graph.op("Squeeze", prefix, graph.sizes(1)): "value_prefix",
    }
    ports = step_ports(network.config, network.trunk.latent_shape)
    return _finish(graph, "step", ports, rename=rename, opset=opset)


def _represent(graph: GraphBuilder, network: EfficientZeroModel, observation: str) -> str:
    trunk, config = network.trunk, network.config
    if isinstance(trunk, PixelTrunk):
        height, width, colours = config.frame_shape
        x = graph.op("Transpose", observation, perm=[0, 1, 4, 2, 3])  # [B, L, C, H, W]
        x = graph.op("Reshape", x, graph.sizes(0, config.frame_stack * colours, height, width))
        return graph.layers(trunk.encoder, graph.op("Div", graph.to_float(x), graph.number(255.0)))
    x = graph.to_float(observation)
    if trunk.observation_scale is None:
        size = graph.op("Log", graph.op("Add", graph.op("Abs", x), graph.number(1.0)))
        x = graph.op("Mul", graph.op("Sign", x), size)
    else:
        scale = graph.weight("trunk.observation_scale", trunk.observation_scale)
        x = graph.op("Mul", x, scale)
    return graph.layers(trunk.encoder, graph.op("Flatten", x))


def _transition(graph: GraphBuilder, network: EfficientZeroModel, latent: str, action: str) -> str:
    trunk = network.trunk
    if isinstance(trunk, PixelTrunk):
        return _pixel_transition(graph, trunk, latent, action)
    size = trunk.latent_shape[0]
    first = cast(nn.Linear, trunk.step[0])
    # first(cat(latent, one_hot)) = W[:, :size] latent + (W[:, size + action] + b)
    table = graph.weight("trunk.step.0.actions", first.weight[:, size:].T + first.bias)  # [A, size]
    kernel = graph.weight("trunk.step.0.weight", first.weight[:, :size])
    x = graph.op("Gemm", latent, kernel, graph.op("Gather", table, action), transB=1)
    change = graph.layers(trunk.step[1:], x)
    return graph.layers(trunk.step_norm, graph.op("Add", latent, change))


def _pixel_transition(graph: GraphBuilder, trunk: PixelTrunk, latent: str, action: str) -> str:
    channels = trunk.latent_shape[0]
    weight, bias = folded(trunk.step_conv, trunk.step_norm)
    # An action's planes are constants, and so is the picture that they add: [A, C, h, w].
    planes = trunk.action_planes().to(weight)
    pictures = functional.conv2d(planes, weight[:, channels:], padding=1)
    added = graph.op("Gather", graph.weight("trunk.step_conv.actions", pictures), action)
    change = graph.conv(trunk.step_conv, latent, weight[:, :channels], bias)
    change = graph.op("Add", change, added)
    x = graph.op("Relu", graph.op("Add", change, latent))
    return graph.layers(trunk.step_blocks, x)


def _accumulate(
    graph: GraphBuilder, network: EfficientZeroModel, latent: str, memory: str
) -> tuple[str, str]:
    """Names of value_prefix_logits [B, S] and of the new memory."""
    trunk = network.trunk
    features = latent
    if isinstance(trunk, PixelTrunk):
        features = graph.layers(trunk.prefix_head, latent)
    h, memory = graph.lstm_step(network.lstm, features, memory)
    x = graph.op("Relu", graph.layers(network.prefix_norm, h))
    x = graph.op("Relu", graph.layers(network.prefix_hidden, x))
    return graph.layers(network.prefix_output, x), memory


def _predict(graph: GraphBuilder, network: EfficientZeroModel, latent: str) -> tuple[str, str]:
    """Names of policy_logits [B, A] and value_logits [B, S]."""
    heads = network.prediction
    x = graph.layers(heads.trunk, latent)
    policy, value = x, x
    if isinstance(heads, PixelPrediction):
        policy = graph.layers(heads.policy_features, x)
        value = graph.layers(heads.value_features, x)
    return graph.layers(heads.policy, policy), graph.layers(heads.value, value)


def _finish(
    graph: GraphBuilder, name: str, ports: Ports, *, rename: dict[str, str], opset: int
) -> Graph:
    onnx = required("onnx")
    inputs, outputs = ([_declared(port) for port in side] for side in ports)
    nodes, weights = graph.finish(name, inputs=inputs, outputs=outputs, rename=rename)
    versions = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(
        nodes,
        producer_name="rllib_ez",
        opset_imports=versions,
        ir_version=onnx.helper.find_min_ir_version_for(versions),
    )
    return Graph(model, weights)


def _declared(port: Port) -> object:
    helper = required("onnx").helper
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
    return helper.make_tensor_value_info(port.name, kind, port.shape)

"""Torch layers in evaluation mode as nodes of an ONNX graph, batch norms folded away.

Axes: B samples, C channels, S bins.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from rllib_ez.core.networks.blocks import ResidualBlock
from rllib_ez.core.scalar_transform import EPSILON, Support
from rllib_ez.errors import EfficientZeroError

if TYPE_CHECKING:
    from onnx import GraphProto

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def required(package: str) -> Any:
    """The module, or an error that says what to install."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EfficientZeroError(
            f"{package} must be installed for ONNX, got {error}: pip install 'rllib-ez[export]'"
        ) from error


class GraphBuilder:
    """A graph that grows node by node.

    Methods take the names of tensors, and the result is the name of a new one. Initializers bear
    the name of the parameter they hold, or begin with it.
    """

    def __init__(self, network: nn.Module) -> None:
        self._onnx = required("onnx")
        self._nodes: list[Any] = []
        self._weights: dict[str, np.ndarray] = {}
        self._names = {module: name for name, module in network.named_modules()}

    def finish(
        self, name: str, *, inputs: Sequence[Any], outputs: Sequence[Any], rename: dict[str, str]
    ) -> tuple[GraphProto, dict[str, np.ndarray]]:
        """The nodes and, apart, the initializers; `rename` gives tensors the names of outputs."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [rename.get(tensor, tensor) for tensor in names]
        graph = self._onnx.helper.make_graph(self._nodes, name, inputs, outputs)
        return graph, self._weights

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output."""
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs."""
        stem = f"{kind.lower()}_{len(self._nodes)}"
        outputs = [f"{stem}_{index}" for index in range(count)]
        node = self._onnx.helper.make_node(kind, inputs, outputs, name=stem, **attributes)
        self._nodes.append(node)
        return outputs

    def weight(self, name: str, value: Tensor) -> str:
        """An initializer, by value; the same name again means the same one."""
        self._weights[name] = np.array(value.detach().cpu().numpy(), order="C")
        return name

    def number(self, value: float) -> str:
        """A scalar f32."""
        return self.weight(f"number_{value:.9g}", torch.tensor(value, dtype=torch.float32))

    def sizes(self, *numbers: int) -> str:
        """A shape, or a list of axes, i64."""
        return self.weight("sizes_" + "_".join(map(str, numbers)), torch.tensor(numbers))

    def to_float(self, x: str) -> str:
        """Any number as f32."""
        return self.op("Cast", x, to=self._onnx.TensorProto.FLOAT)

    def layers(self, module: nn.Module, x: str) -> str:
        """`module(x)`; a norm after a convolution or a linear layer is folded into it."""
        if isinstance(module, nn.Sequential):
            parts = list(module)
            while parts:
                part = parts.pop(0)
                if isinstance(part, nn.Conv2d | nn.Linear) and isinstance((*parts, None)[0], Norm):
                    x = self.affine(part, x, norm=cast(Norm, parts.pop(0)))
                else:
                    x = self.layers(part, x)
            return x
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self.affine(module, x)
        if isinstance(module, ResidualBlock):
            y = self.op("Relu", self.affine(module.conv1, x, norm=module.norm1))
            y = self.affine(module.conv2, y, norm=module.norm2)
            return self.op("Relu", self.op("Add", y, self.layers(module.shortcut, x)))
        return self._single(module, x)

    def _single(self, module: nn.Module, x: str) -> str:
        name = self._names[module]
        if isinstance(module, nn.Identity):
            return x
        if isinstance(module, nn.ReLU):
            return self.op("Relu", x)
        if isinstance(module, nn.Flatten):
            return self.op("Flatten", x)
        if isinstance(module, nn.AvgPool2d):
            kernel, stride, pad = (cast(int, v) for v in _pooling(module))
            return self.op(
                "AveragePool",
                x,
                kernel_shape=[kernel] * 2,
                strides=[stride] * 2,
                pads=[pad] * 4,
                count_include_pad=1,
            )
        if isinstance(module, nn.LayerNorm):
            gain, bias = (
                self.weight(f"{name}.{part}", getattr(module, part)) for part in ("weight", "bias")
            )
            return self.op("LayerNormalization", x, gain, bias, epsilon=module.eps)
        if isinstance(module, nn.BatchNorm1d):
            scale, shift = scale_and_shift(module)
            x = self.op("Mul", x, self.weight(f"{name}.scale", scale))
            return self.op("Add", x, self.weight(f"{name}.shift", shift))
        raise AssertionError(f"no ONNX form of {module}")

    def affine(self, module: nn.Conv2d | nn.Linear, x: str, *, norm: Norm | None = None) -> str:
        """A convolution or a linear layer, and the norm that follows it."""
        weight, bias = folded(module, norm)
        if isinstance(module, nn.Conv2d):
            return self.conv(module, x, weight, bias)
        name = self._names[module]
        kernel, offset = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        return self.op("Gemm", x, kernel, offset, transB=1)

    def conv(self, module: nn.Conv2d, x: str, weight: Tensor, bias: Tensor) -> str:
        """The convolution `module` with other weights."""
        name = self._names[module]
        kernel, offset = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        pads = [int(p) for p in cast(tuple[int, ...], module.padding)]
        return self.op("Conv", x, kernel, offset, strides=list(module.stride), pads=pads * 2)

    def lstm_step(self, module: nn.LSTM, x: str, memory: str) -> tuple[str, str]:
        """One step of features [B, F] from memory [2, B, M].

        Returns:
            h [B, M] and the new memory [2, B, M].
        """
        name, size = self._names[module], module.hidden_size
        axes = self.sizes(0)
        kernel_x, kernel_h, bias_x, bias_h = (
            _gates(getattr(module, f"{part}_l0"), size)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        weights = (
            self.weight(f"{name}.weight_ih_l0", kernel_x[None]),
            self.weight(f"{name}.weight_hh_l0", kernel_h[None]),
            self.weight(f"{name}.biases", torch.cat((bias_x, bias_h))[None]),
        )
        h, c = self.ops("Split", memory, self.sizes(1, 1), count=2, axis=0)  # [1, B, M] each
        series = self.op("Unsqueeze", x, axes)  # one time step, [1, B, F]
        _, h, c = self.ops("LSTM", series, *weights, "", h, c, count=3, hidden_size=size)
        return self.op("Squeeze", h, axes), self.op("Concat", h, c, axis=0)

    def mean_bin(self, logits: str, support: Support, name: str) -> str:
        """The mean [B, 1] of the bins under softmax(logits [B, S]), on the scaled axis."""
        bins = support.bins(torch.zeros(())).view(-1, 1)
        probs = self.op("Softmax", logits, axis=-1)
        return self.op("MatMul", probs, self.weight(f"{name}.bins", bins))

    def unscale(self, y: str) -> str:
        """As `scalar_transform.unscale`, in the same order of operations."""
        reach = self.op("Add", self.op("Abs", y), self.number(1 + EPSILON))
        u = self.op("Mul", reach, self.number(4 * EPSILON))
        sqrt = self.op("Sqrt", self.op("Add", u, self.number(1.0)))
        below = self.op("Mul", self.op("Add", sqrt, self.number(1.0)), self.number(2 * EPSILON))
        root = self.op("Div", u, below)
        size = self.op("Sub", self.op("Mul", root, root), self.number(1.0))
        return self.op("Mul", self.op("Sign", y), size)


def folded(module: nn.Conv2d | nn.Linear, norm: Norm | None) -> tuple[Tensor, Tensor]:
    """Weight and bias that do what `module` and then `norm` do."""
    weight, bias = module.weight, module.bias
    if norm is None:
        return weight, torch.zeros_like(weight[:, 0].flatten(1)[:, 0]) if bias is None else bias
    fuse: Any = fuse_conv_bn_weights if isinstance(module, nn.Conv2d) else fuse_linear_bn_weights
    mean, variance = norm.running_mean, norm.running_var
    fused: tuple[Tensor, Tensor] = fuse(
        weight, bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    return fused


def scale_and_shift(norm: Norm) -> tuple[Tensor, Tensor]:
    """The two numbers per channel that a batch norm is in evaluation mode, [C] each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _gates(weight: Tensor, size: int) -> Tensor:
    """From torch's order of gates, [4 * M, ...], input forget cell output, to ONNX's."""
    i, f, g, o = torch.split(weight, size)
    return torch.cat((i, o, f, g))


def _pooling(module: nn.AvgPool2d) -> tuple[Any, Any, Any]:
    return module.kernel_size, module.stride, module.padding

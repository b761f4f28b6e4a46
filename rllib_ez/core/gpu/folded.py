"""A network in the form that search on a GPU runs: fewer and wider operations, same answers.

Axes: B roots, A actions, L frame_stack, F latent_size, M memory_size, C channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from rllib_ez.core.gpu.room import Imagined
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.networks.blocks import ResidualBlock
from rllib_ez.core.networks.pixel import PixelTrunk
from rllib_ez.core.scalar_transform import unscale

HEADS = ("prediction.policy", "prediction.value", "prefix_norm", "prefix_hidden", "prefix_output")
DTYPES = (torch.float32, torch.bfloat16)


class FoldedNetwork:
    """A copy of a network with its batch norms folded into what stands before them.

    Pixels' latents are channels last; the heads and the expectations over bins are f32 in any case.

    Args:
        source: where weights come from; `refresh` reads them again.
        device: where the copy lives.
        dtype: of trunk, LSTM, latents and memories; bfloat16 for network "pixel" only.
        compiled: let torch.compile fuse the small operations of a step.

    Raises:
        ValueError: a dtype that the network does not run in.
    """

    def __init__(
        self,
        source: EfficientZeroModel,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        pixel = isinstance(source.trunk, PixelTrunk)
        if dtype not in DTYPES or (dtype != torch.float32 and not pixel):
            raise ValueError(
                f"dtype must be float32, or bfloat16 for network 'pixel', got {dtype} "
                f"for network {source.config.network!r}"
            )
        self.source, self.device, self.dtype = source, device, dtype
        self.latent_shape = source.trunk.latent_shape
        self.latent_size = math.prod(self.latent_shape)
        self.memory_size = source.config.lstm_size
        self.model = _folded_copy(source).to(device)
        if pixel:
            self.model.to(dtype)
            _turn_channels_last(self.model)
        for name in HEADS:
            self.model.get_submodule(name).float()
        supports = (source.value_support, source.value_prefix_support)
        zero = torch.zeros((), device=device)
        self.bins, self.prefix_bins = (support.bins(zero) for support in supports)
        self.step_weight, self.action_rows = self._step_tensors(self.model)
        self._step: Any = torch.compile(self._imagine, dynamic=False) if compiled else self._imagine
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over the source's weights, in place: at the same addresses as before."""
        new = _folded_copy(self.source)
        tensors = new.state_dict()
        for name, tensor in self.model.state_dict().items():
            tensor.copy_(tensors[name])
        weight, action_rows = self._step_tensors(new)
        self.step_weight.copy_(weight)
        self.action_rows.copy_(action_rows)

    def root(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observations [B, L, *frame]: latent [B, F], prior [B, A] f32, value [B] f32."""
        with _full_precision():
            latent = self.model.represent(observation.to(self.device))
            policy_logits, value_logits = self._predict(latent)
            value = unscale(_mean(value_logits, self.bins))
            return self._rows(latent), torch.softmax(policy_logits, dim=-1), value

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> Imagined:
        """Imagines one step: latent [B, F], memory [B, 2M], action [B] i64."""
        with _full_precision():
            return Imagined(*self._step(latent, memory, action))

    def _imagine(self, latent: Tensor, memory: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        after = self._transition(self._shaped(latent), action)
        memory, prefix_logits = self._accumulate(after, memory)
        policy_logits, value_logits = self._predict(after)
        means = (_mean(prefix_logits, self.prefix_bins), _mean(value_logits, self.bins))
        prefix, value = unscale(torch.stack(means))  # together: half as many small operations
        return self._rows(after), memory, torch.softmax(policy_logits, dim=-1), prefix, value

    def _transition(self, latent: Tensor, action: Tensor) -> Tensor:
        """`EfficientZeroModel.transition`; what a pixel's action adds is looked up."""
        if not isinstance(self.model.trunk, PixelTrunk):
            return self.model.transition(latent, action)
        change = functional.conv2d(latent, self.step_weight, padding=1)
        by_action = self._shaped(self.action_rows.index_select(0, action))
        after: Tensor = self.model.trunk.step_blocks(torch.relu(change + by_action + latent))
        return after

    def _step_tensors(self, folded: EfficientZeroModel) -> tuple[Tensor, Tensor]:
        """The first convolution of a step, without and for its action planes.

        Returns:
            Weights of the latent's channels [C, C, 3, 3], and what planes and bias add, [A, F];
            nothing for vectors.
        """
        trunk = folded.trunk
        if not isinstance(trunk, PixelTrunk):
            return torch.empty(0), torch.empty(0)
        channels, height, width = self.latent_shape
        weight = trunk.step_conv.weight.detach().float().to(self.device)
        planes = trunk.action_planes().float().to(self.device)
        bias: Any = trunk.step_conv.bias
        with _full_precision():  # [A, C, h, w]
            by_action = functional.conv2d(
                planes, weight[:, channels:], bias.float().to(self.device), padding=1
            )
        last = torch.channels_last
        rows = self._rows(by_action).to(self.dtype)
        return weight[:, :channels].to(self.dtype).contiguous(memory_format=last), rows

    def _accumulate(self, latent: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the value-prefix LSTM: new memory [B, 2M], logits [B, S] f32."""
        model, size = self.model, self.memory_size
        lstm: Any = model.lstm
        features = model.trunk.prefix_features(latent)
        weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
        h, c = torch.lstm_cell(features, (memory[:, :size], memory[:, size:]), *weights)
        hidden = model.prefix_hidden(torch.relu(model.prefix_norm(h.float())))
        return torch.cat((h, c), dim=1), model.prefix_output(torch.relu(hidden))

    def _predict(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """policy_logits [B, A] and value_logits [B, S], f32."""
        part: Any = self.model.prediction
        x = part.trunk(latent)
        if isinstance(self.model.trunk, PixelTrunk):
            policy, value = part.policy_features(x).float(), part.value_features(x).float()
            return part.policy(policy), part.value(value)
        return part.policy(x), part.value(x)

    def _shaped(self, rows: Tensor) -> Tensor:
        """[B, F] as the network's latent; pixels [B, C, h, w], channels last, no copy."""
        if len(self.latent_shape) == 1:
            return rows
        channels, height, width = self.latent_shape
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _rows(self, latent: Tensor) -> Tensor:
        """The inverse of `_shaped`."""
        return latent if latent.dim() == 2 else latent.permute(0, 2, 3, 1).flatten(1)


def _folded_copy(source: EfficientZeroModel) -> EfficientZeroModel:
    """Batch norms folded into the layer before them; the SimSiam parts are left out."""
    model = copy.deepcopy(source).eval().requires_grad_(False)
    model.projector, model.predictor = nn.Sequential(), nn.Sequential()
    for module in list(model.modules()):
        for layer, norm in _pairs(module):
            _fold(getattr(module, layer), getattr(module, norm))
            setattr(module, norm, nn.Identity())
    return model


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children of which the second is a batch norm right after the first."""
    if isinstance(module, ResidualBlock):
        yield from (("conv1", "norm1"), ("conv2", "norm2"))
    elif isinstance(module, PixelTrunk):
        yield "step_conv", "step_norm"
    elif isinstance(module, nn.Sequential):
        children = list(module.named_children())
        for (first, layer), (second, norm) in zip(children[:-1], children[1:], strict=True):
            is_layer = isinstance(layer, (nn.Conv2d, nn.Linear))
            if is_layer and isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                yield first, second


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    """W' = W * g / sqrt(var + eps), b' = (b - mean) * g / sqrt(var + eps) + beta."""
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    fuse = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    layer.weight, layer.bias = fuse(layer.weight, layer.bias, *statistics)
    layer.requires_grad_(False)


def _turn_channels_last(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _mean(logits: Tensor, bins: Tensor) -> Tensor:
    """[B, S] and [S] to the mean of the bins under softmax(logits), [B], on the scaled axis."""
    return torch.softmax(logits, dim=-1) @ bins


def _full_precision() -> Any:
    """f32 convolutions in f32: TF32 would keep 10 bits of 23."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

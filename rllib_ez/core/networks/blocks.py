"""The building blocks that the networks share."""

from __future__ import annotations

from torch import Tensor, nn


def mlp(sizes: tuple[int, ...], *, norm: type[nn.Module], final_norm: bool) -> nn.Sequential:
    """Linear layers with `norm` and ReLU between them; after the last, `norm` or nothing."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = index == len(sizes) - 2
        normed = not last or final_norm
        # With a bias also before a norm: a layer norm of W x alone would forget how long x is.
        layers.append(nn.Linear(inputs, outputs))
        if normed:
            layers.append(norm(outputs))
        if not last:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def zero_output(layer: nn.Linear) -> nn.Linear:
    """Starts a head at 0, so that an untrained network favours nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """conv - norm - ReLU - conv - norm, plus the input, ReLU.

    Source: EfficientZero, arXiv:2111.00210, appendix A.1.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu(residual + self.shortcut(x))
        return out


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` residual blocks of one width."""
    return nn.Sequential(*(ResidualBlock(channels, channels) for _ in range(count)))

"""Top layers of the whole-image network, written as in the paper's Table 2 (paper §2.2).

- ``[512-512-1024]x2`` is a residual block: two bottleneck units 1×1 (512) → 3×3 (512) → 1×1 (1024).
- ``512x1`` is a VGG block: one 3×3 convolution (512), then 2×2 max-pooling. Both blocks halve the feature map.
- ``FC64`` is a fully connected layer of 64 units; the paper compares its all convolutional design with these.

Strides, biases, order of the layers and initialisation are those of the author's networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from monai_e2e.errors import UserError

_RESIDUAL = re.compile(r"\[(\d+)-(\d+)-(\d+)\]x(\d+)")
_VGG = re.compile(r"(\d+)x(\d+)")
_FC = re.compile(r"FC([1-9]\d*)")


def classify_windows(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pool_size: int, stride: int = 1
) -> torch.Tensor:
    """Logits of the patch classifier's linear layer for every window of a feature map (paper §2.1).

    Args:
        features: feature map ``[B, C, H, W]``.
        weight: the layer's weights ``[classes, C]`` (a tensor, since TorchScript takes no layers as arguments).
        bias: its biases ``[classes]``.
        pool_size: side of the windows, in positions of the feature map.
        stride: step between windows, in positions.

    Returns:
        ``[B, classes, (H - pool_size) // stride + 1, (W - pool_size) // stride + 1]``.
    """
    pooled = F.avg_pool2d(features, pool_size, stride)
    return F.conv2d(pooled, weight[:, :, None, None], bias)


class PatchHeatmap(nn.Module):
    """Layer that applies the patch classifier at every position of the feature map (paper §2.1, §3.1.2, Table 2).

    Args:
        classifier: the patch classifier's linear layer, shared and not copied.
        pool_size: side of the windows, in positions of the feature map; 7 for patches of 224 pixels.
        stride: step between windows, in positions.
        activation: ``"relu"`` as in the author's networks, or ``"softmax"`` as in his older ones.
        max_pool: side and stride of the max-pooling that follows; None for no pooling.

    Shape: feature map ``[B, C, H, W]`` → ``[B, classes, h, w]``.

    Raises:
        UserError: when ``activation`` is neither of these.
    """

    def __init__(
        self,
        classifier: nn.Linear,
        pool_size: int = 7,
        stride: int = 1,
        activation: str = "relu",
        max_pool: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in ("relu", "softmax"):
            raise UserError(f"the heatmap's activation must be 'relu' or 'softmax', got '{activation}'")
        self.classifier = classifier
        self.pool_size = pool_size
        self.stride = stride
        self.activation = nn.ReLU() if activation == "relu" else nn.Softmax(dim=1)
        self.max_pool = nn.Identity() if max_pool is None else nn.MaxPool2d(max_pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = classify_windows(x, self.classifier.weight, self.classifier.bias, self.pool_size, self.stride)
        return self.max_pool(self.activation(x))


class _Pointwise(nn.Conv2d):
    """1×1 convolution that takes every ``stride``-th position itself.

    A patch classifier's heatmap has five channels. In the gradient of a strided 1×1 convolution of so few, stored
    channels last, oneDNN writes past its memory, and the process ends at random
    (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)


def _conv_bn(in_channels: int, out_channels: int, kernel_size: int, eps: float, stride: int = 1) -> list[nn.Module]:
    layer = _Pointwise if kernel_size == 1 and stride > 1 else nn.Conv2d
    conv = layer(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return [conv, nn.BatchNorm2d(out_channels, eps=eps)]


class BottleneckUnit(nn.Module):
    """Residual unit 1×1 → 3×3 → 1×1 with the stride in its first convolution and ReLU after the sum.

    Args:
        in_channels: channels of the input.
        channels: output channels of the three convolutions.
        stride: 2 in the first unit of a block, which has a projection shortcut; 1 in the others.
        norm_eps: epsilon of the batch normalisation.

    Shape: ``[B, in_channels, H, W]`` → ``[B, channels[2], ceil(H / stride), ceil(W / stride)]``.

    Raises:
        UserError: when a unit of stride 1 would change the number of channels.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], stride: int, norm_eps: float = 1e-5) -> None:
        super().__init__()
        first, second, third = channels
        if stride == 1 and in_channels != third:
            raise UserError(f"a unit of stride 1 keeps its channels, got {in_channels} in and {third} out")
        self.residual = nn.Sequential(
            *_conv_bn(in_channels, first, 1, norm_eps, stride),
            nn.ReLU(inplace=True),
            *_conv_bn(first, second, 3, norm_eps),
            nn.ReLU(inplace=True),
            *_conv_bn(second, third, 1, norm_eps),
        )
        if stride == 1:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Sequential(*_conv_bn(in_channels, third, 1, norm_eps, stride))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


def make_top_block(in_channels: int, block: str, norm_eps: float = 1e-5) -> tuple[nn.Sequential, int]:
    """Build one convolutional block from the paper's notation.

    Args:
        in_channels: channels of the feature map before the block.
        block: ``"[M-N-O]xR"`` or ``"MxR"``.
        norm_eps: epsilon of the batch normalisation.

    Returns:
        The block, which halves the height and width of ``[B, in_channels, H, W]``, and its output channels.

    Raises:
        UserError: when ``block`` is not in the notation.
    """
    text = block.replace(" ", "")
    if match := _RESIDUAL.fullmatch(text):
        first, second, third, repeats = (int(number) for number in match.groups())
        if min(first, second, third, repeats) > 0:
            channels = (first, second, third)
            units = [BottleneckUnit(in_channels, channels, 2, norm_eps)]
            units += [BottleneckUnit(third, channels, 1, norm_eps) for _ in range(repeats - 1)]
            return nn.Sequential(*units), third
    if match := _VGG.fullmatch(text):
        width, repeats = (int(number) for number in match.groups())
        if min(width, repeats) > 0:
            layers: list[nn.Module] = []
            for index in range(repeats):
                layers += _conv_bn(in_channels if index == 0 else width, width, 3, norm_eps)
                layers.append(nn.ReLU(inplace=True))
            return nn.Sequential(*layers, nn.MaxPool2d(2)), width
    raise UserError(
        f"cannot read top block '{block}': write '[512-512-1024]x2' (residual), '512x1' (VGG) or, "
        "after all of these, 'FC64' (fully connected)"
    )


def make_top(in_channels: int, blocks: Sequence[str], norm_eps: float = 1e-5) -> tuple[nn.Sequential, int]:
    """Chain convolutional blocks, named ``block1``, ``block2``, …; returns them and their output channels."""
    top = nn.Sequential()
    channels = in_channels
    for index, block in enumerate(blocks, start=1):
        module, channels = make_top_block(channels, block, norm_eps)
        top.add_module(f"block{index}", module)
    return top, channels


def split_blocks(blocks: Sequence[str]) -> tuple[list[str], list[int]]:
    """Split a list of blocks into the convolutional ones and the units of the fully connected layers at its end."""
    convolutional = list(blocks)
    units: list[int] = []
    while convolutional and (match := _FC.fullmatch(convolutional[-1])):
        units.insert(0, int(match.group(1)))
        convolutional.pop()
    return convolutional, units


def make_fully_connected(
    in_features: int, units: Sequence[int], dropout: float = 0.0, norm_eps: float = 1e-5
) -> tuple[nn.Sequential, int]:
    """Chain layers linear → batch normalisation → ReLU → dropout, named ``fc1``, ``fc2``, … (paper Table 2).

    Returns:
        The layers, which map ``[B, in_features]`` to ``[B, units[-1]]``, and their output features.
    """
    layers = nn.Sequential()
    features = in_features
    for index, width in enumerate(units, start=1):
        linear = nn.Linear(features, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layer = nn.Sequential(linear, nn.BatchNorm1d(width, eps=norm_eps), nn.ReLU(inplace=True), nn.Dropout(dropout))
        layers.add_module(f"fc{index}", layer)
        features = width
    return layers, features

"""Top layers of the whole-image network, written as in the paper's Table 2 (paper §2.2).

``[512-512-1024]x2`` is a residual block: two bottleneck units 1×1 (512) → 3×3 (512) → 1×1 (1024).
``512x1`` is a VGG block: one 3×3 convolution (512), then 2×2 max-pooling. Either halves the feature map.
Strides, biases, order of the layers and initialisation are those of the author's networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

_RESIDUAL = re.compile(r"\[(\d+)-(\d+)-(\d+)\]x(\d+)")
_VGG = re.compile(r"(\d+)x(\d+)")


def _conv_bn(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return [conv, nn.BatchNorm2d(out_channels)]


class BottleneckUnit(nn.Module):
    """Residual unit 1×1 → 3×3 → 1×1 with the stride in its first convolution and ReLU after the sum.

    Args:
        in_channels: channels of the input.
        channels: output channels of the three convolutions.
        stride: 2 in the first unit of a block, which then has a projection shortcut; 1 in the others.

    Raises:
        ValueError: when a unit of stride 1 would change the number of channels.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], stride: int) -> None:
        super().__init__()
        first, second, third = channels
        if stride == 1 and in_channels != third:
            raise ValueError(f"a unit of stride 1 keeps its channels, got {in_channels} in and {third} out")
        self.residual = nn.Sequential(
            *_conv_bn(in_channels, first, 1, stride),
            nn.ReLU(inplace=True),
            *_conv_bn(first, second, 3),
            nn.ReLU(inplace=True),
            *_conv_bn(second, third, 1),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(*_conv_bn(in_channels, third, 1, stride))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


def make_top_block(in_channels: int, block: str) -> tuple[nn.Sequential, int]:
    """Build one block from the paper's notation.

    Args:
        in_channels: channels of the feature map that it is put on.
        block: ``"[M-N-O]xR"`` or ``"MxR"``.

    Returns:
        The block, which maps ``[B, in_channels, H, W]`` to half the height and width, and its output channels.

    Raises:
        ValueError: when ``block`` is not in the notation.
    """
    text = block.replace(" ", "")
    if match := _RESIDUAL.fullmatch(text):
        first, second, third, repeats = (int(number) for number in match.groups())
        if min(first, second, third, repeats) > 0:
            channels = (first, second, third)
            units = [BottleneckUnit(in_channels, channels, stride=2)]
            units += [BottleneckUnit(third, channels, stride=1) for _ in range(repeats - 1)]
            return nn.Sequential(*units), third
    if match := _VGG.fullmatch(text):
        width, repeats = (int(number) for number in match.groups())
        if min(width, repeats) > 0:
            layers: list[nn.Module] = []
            for index in range(repeats):
                layers += [*_conv_bn(in_channels if index == 0 else width, width, 3), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers, nn.MaxPool2d(2)), width
    raise ValueError(f"cannot read top block '{block}': write '[512-512-1024]x2' (residual) or '512x1' (VGG)")


def make_top(in_channels: int, blocks: Sequence[str]) -> tuple[nn.Sequential, int]:
    """Chain the blocks; the modules are named ``block1``, ``block2``, … Returns them and their output channels."""
    top = nn.Sequential()
    channels = in_channels
    for index, block in enumerate(blocks, start=1):
        module, channels = make_top_block(channels, block)
        top.add_module(f"block{index}", module)
    return top, channels

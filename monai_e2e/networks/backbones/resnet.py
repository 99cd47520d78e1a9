"""ResNet-50 (paper reference 25): as MONAI and torchvision build it, and as the author's Keras did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import ResNet
from monai.networks.nets.resnet import ResNetBottleneck
from torch import nn
from torch.nn import functional as F

from monai_e2e.errors import UserError
from monai_e2e.networks.backbones.base import KERAS_EPS, KERAS_MOMENTUM, Backbone, stage_channels


class ResNet50(ResNet, Backbone):
    """MONAI's ResNet-50 without pooling and classifier.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels, 1.0 for the paper's network; or a number of channels for each of the
            four stages, in the paper's network 64, 128, 256, 512.
        block: class of the bottleneck units, for subclasses.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 2048 * width, ceil(H / 32), ceil(W / 32)]``.
    """

    imagenet_url: str | None = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    stride = 32
    stages = {  # noqa: RUF012 (the annotation is Backbone's)
        "stage1": ("conv1", "bn1"),
        "stage2": ("layer1",),
        "stage3": ("layer2",),
        "stage4": ("layer3",),
        "stage5": ("layer4",),
    }

    def __init__(
        self,
        in_channels: int = 3,
        width: float | Sequence[int] = 1.0,
        block: type[ResNetBottleneck] = ResNetBottleneck,
    ) -> None:
        super().__init__(
            block=block,
            layers=[3, 4, 6, 3],
            block_inplanes=stage_channels((64, 128, 256, 512), width),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        self.out_channels = self.in_planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class _StrideFirstBottleneck(ResNetBottleneck):
    """Bottleneck unit with the stride in its first 1×1 convolution; ends in a ReLU if ``activated``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride
        self.activated = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            x = self.downsample(x)
        out = out + x
        return self.act(out) if self.activated else out


class ResNet50Keras(ResNet50):
    """The author's ResNet-50, from Keras in 2017, for his published weights.

    It differs from :class:`ResNet50`: the stride of a stage is in its first 1×1 convolution, all convolutions have
    biases, batch normalisation has Keras's settings, and the first two layers are padded in another way.

    Args:
        in_channels: channels of the input.
        width: as in :class:`ResNet50`.
        stem_padding: how the first convolution pads: ``"zeros"``, 3 on all sides (Keras before 2.0.7 and from 2.1.5
            on), or ``"same"``, TensorFlow's asymmetric padding (Keras 2.0.7–2.1.4).
        last_layer: whether the last layer, a ReLU, is included; the author's program removed it from patch
            classifiers without a dropout layer.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 2048 * width, H / 32, W / 32]``; up to one less if H or W is not a
    multiple of 32.

    Raises:
        UserError: when ``stem_padding`` is neither of these.
    """

    imagenet_url = None

    def __init__(
        self,
        in_channels: int = 3,
        width: float | Sequence[int] = 1.0,
        stem_padding: str = "zeros",
        last_layer: bool = True,
    ) -> None:
        if stem_padding not in ("zeros", "same"):
            raise UserError(f"stem_padding must be 'zeros' or 'same', got '{stem_padding}'")
        super().__init__(in_channels, width, _StrideFirstBottleneck)
        self.stem_padding = stem_padding
        self.conv1.padding = (0, 0)
        self.maxpool = nn.MaxPool2d(3, stride=2)
        self.layer4[-1].activated = last_layer  # type: ignore[assignment]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.bias = nn.Parameter(torch.zeros(module.out_channels))
            elif isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = KERAS_EPS, KERAS_MOMENTUM

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stem_padding == "same":
            # TensorFlow pads so that the output has ceil(n / 2) rows; an odd pixel of padding goes to the bottom and
            # right: 2 and 3 for an even side, 3 and 3 for an odd one.
            top, left = 2 + x.shape[2] % 2, 2 + x.shape[3] % 2
            x = F.pad(x, [left, 3, top, 3])
        else:
            x = F.pad(x, [3, 3, 3, 3])
        # TorchScript doesn't support super().forward.
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

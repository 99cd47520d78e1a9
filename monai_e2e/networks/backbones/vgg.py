"""Networks of 3×3 convolutions and max-pooling: VGG (paper reference 26) and the author's "YaroslavNet"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monai_e2e.networks.backbones.base import KERAS_EPS, KERAS_MOMENTUM, Backbone, stage_channels


class VGG16(Backbone):
    """VGG-16's convolutional part, without batch normalisation, up to and including its last pooling.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels, 1.0 for the paper's network; or a number of channels for each of the
            five stages, in the paper's network 64, 128, 256, 512, 512.
        last_layer: whether the last layer, a max-pooling, is included; the author's program removed it from patch
            classifiers without a dropout layer. Without it the stride is 16.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 512 * width, H // 32, W // 32]``.
    """

    imagenet_url = "https://download.pytorch.org/models/vgg16-397923af.pth"
    #: Number of 3×3 convolutions in each stage; a 2×2 max-pooling follows (Simonyan & Zisserman 2015, table 1).
    convolutions = (2, 2, 3, 3, 3)

    def __init__(self, in_channels: int = 3, width: float | Sequence[int] = 1.0, last_layer: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages: dict[str, tuple[str, ...]] = {}
        channels = in_channels
        for repeats, out_channels in zip(
            self.convolutions, stage_channels((64, 128, 256, 512, 512), width), strict=True
        ):
            stage = []
            for _ in range(repeats):
                stage.append(f"features.{len(layers)}")
                layers += [nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
            stages[f"stage{len(stages) + 1}"] = tuple(stage)
        self.features = nn.Sequential(*(layers if last_layer else layers[:-1]))
        self.stages = stages
        self.stride = 32 if last_layer else 16
        self.out_channels = channels
        _initialize(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


class VGG19(VGG16):
    """VGG-19's convolutional part; arguments and shape are those of :class:`VGG16`."""

    imagenet_url = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    convolutions = (2, 2, 4, 4, 4)


class YaroslavNet(Backbone):
    """The author's "YaroslavNet": six VGG blocks with batch normalisation, for images of one channel.

    It follows the winning network of the DREAM challenge, which the paper compares with (paper §3.1.2, reference 17).

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels; or a number of channels for each of the six stages, in the author's
            network 32, 64, 128, 256, 256, 512.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 512 * width, H // 64, W // 64]``.
    """

    image_channels = 1
    stride = 64

    def __init__(self, in_channels: int = 1, width: float | Sequence[int] = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages: dict[str, tuple[str, ...]] = {}
        channels = in_channels
        for number, out_channels in enumerate(stage_channels((32, 64, 128, 256, 256, 512), width), start=1):
            first = len(layers)
            for _ in range(2):
                layers += [
                    nn.Conv2d(channels, out_channels, kernel_size=3, padding=1),
                    nn.BatchNorm2d(out_channels, eps=KERAS_EPS, momentum=KERAS_MOMENTUM),
                    nn.ReLU(inplace=True),
                ]
                channels = out_channels
            stages[f"stage{number}"] = tuple(f"features.{first + offset}" for offset in (0, 1, 3, 4))
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.stages = stages
        self.out_channels = channels
        _initialize(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

"""The convolutional part of a patch classifier (paper §3.1.2, Table 1).

A backbone maps ``[B, 3, H, W]`` to its last feature map ``[B, out_channels, H / stride, W / stride]`` and names
its parts ``stage1`` … ``stage5``, from the input to the last map, so that a training plan can speak of "the last
stage" of any of them. State-dict keys are torchvision's, so ImageNet weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from monai.networks.nets import ResNet
from torch import nn

#: Output channels of VGG's convolutions; "M" is a 2×2 max-pool that ends a stage (Simonyan & Zisserman 2015, table 1).
VGG16_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class Backbone(nn.Module):
    """What the rest of the code knows of a backbone.

    Attributes:
        out_channels: channels of the feature map.
        stride: pixels of the input for each position of the feature map.
        stages: names of the stages → names of their modules, from the input to the feature map.
    """

    if TYPE_CHECKING:  # TorchScript can't read these annotations
        out_channels: int
        stride: int
        stages: Mapping[str, tuple[str, ...]]


class ResNet50(ResNet, Backbone):
    """MONAI's ResNet-50 without pooling and classifier.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels; 1.0 is the network of the paper.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 2048 * width, ceil(H / 32), ceil(W / 32)]``.
    """

    stride = 32
    stages = {  # noqa: RUF012 (the annotation is Backbone's)
        "stage1": ("conv1", "bn1"),
        "stage2": ("layer1",),
        "stage3": ("layer2",),
        "stage4": ("layer3",),
        "stage5": ("layer4",),
    }

    def __init__(self, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__(
            block="bottleneck",
            layers=[3, 4, 6, 3],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            widen_factor=width,
            feed_forward=False,
            bias_downsample=False,
        )
        self.out_channels = self.in_planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class VGG16(Backbone):
    """VGG-16's convolutional part, without batch normalisation, up to and including its last pooling.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels; 1.0 is the network of the paper.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 512 * width, H // 32, W // 32]``.
    """

    stride = 32

    def __init__(self, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages: dict[str, tuple[str, ...]] = {}
        stage: list[str] = []
        channels = in_channels
        for layer in VGG16_LAYERS:
            if layer == "M":
                layers.append(nn.MaxPool2d(2))
                stages[f"stage{len(stages) + 1}"] = tuple(stage)
                stage = []
                continue
            stage.append(f"features.{len(layers)}")
            out_channels = max(1, int(int(layer) * width))
            layers += [nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.stages = stages
        self.out_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


BACKBONES: Mapping[str, Callable[..., Backbone]] = {"resnet50": ResNet50, "vgg16": VGG16}


def make_backbone(name: str, in_channels: int = 3, width: float = 1.0) -> Backbone:
    """Build a backbone by name.

    Raises:
        ValueError: when ``name`` is not in :data:`BACKBONES` or ``width`` is not positive.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone '{name}', choose one of: {', '.join(BACKBONES)}")
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    return BACKBONES[name](in_channels=in_channels, width=width)

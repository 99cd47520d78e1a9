"""What all backbones have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from monai_e2e.errors import UserError

#: Keras's batch normalisation, with which the author trained; its momentum 0.99 is 0.01 as PyTorch counts.
KERAS_EPS, KERAS_MOMENTUM = 1e-3, 0.01


class Backbone(nn.Module):
    """What the rest of the code knows of a backbone.

    Attributes:
        out_channels: channels of the feature map.
        stride: pixels of the input for each position of the feature map.
        stages: names of the stages → names of their modules, from the input to the feature map.
        image_channels: channels of the input where nothing else is asked for.
        imagenet_url: torchvision's ImageNet weights (IMAGENET1K_V1), None where there are none. The eight digits in
            the file's name begin its SHA-256.
        imagenet_package: where ImageNet weights come by ``pip`` instead: the package's name and the file in it.
        imagenet_std: what ImageNet's images were divided by, red, green and blue, on the scale 0–255.
    """

    if TYPE_CHECKING:  # TorchScript can't read these annotations
        out_channels: int
        stride: int
        stages: Mapping[str, tuple[str, ...]]
        image_channels: int
        imagenet_url: str | None
        imagenet_package: tuple[str, str] | None
        imagenet_std: tuple[float, float, float]

    image_channels = 3
    imagenet_url = None
    imagenet_package = None
    imagenet_std = (0.229 * 255, 0.224 * 255, 0.225 * 255)  # torchvision's

    @staticmethod
    def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state dict of the published network, torchvision's for most, under this network's keys."""
        return dict(state)


def stage_channels(published: Sequence[int], width: float | Sequence[int]) -> list[int]:
    """Channels of each stage: the published ones times a factor, or those given.

    Raises:
        UserError: when ``width`` is no positive factor and not one positive number for each stage.
    """
    if isinstance(width, Sequence):
        if len(width) != len(published) or min(width) < 1:
            raise UserError(f"width must be a factor or {len(published)} numbers of channels, got {list(width)}")
        return [int(channels) for channels in width]
    if width <= 0:
        raise UserError(f"width must be positive, got {width}")
    return [max(1, int(channels * width)) for channels in published]

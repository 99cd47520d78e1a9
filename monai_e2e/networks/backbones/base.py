"""What all backbones have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from monai_e2e.errors import UserError

#: Keras's batch normalisation, which the author used; its momentum 0.99 is 0.01 in PyTorch's definition.
KERAS_EPS, KERAS_MOMENTUM = 1e-3, 0.01


class Backbone(nn.Module):
    """The interface of all backbones; no other code needs to know which one it has.

    Attributes:
        out_channels: channels of the feature map.
        stride: pixels of the input per position of the feature map.
        stages: names of the stages → names of their modules, from input to output.
        image_channels: default number of input channels.
        imagenet_url: torchvision's ImageNet weights (IMAGENET1K_V1), or None. The file name contains the first eight
            digits of its SHA-256.
        imagenet_package: for ImageNet weights from a ``pip`` package, its name and the file in it; or None.
        imagenet_std: standard deviation that ImageNet's red, green and blue channels were divided by, on the scale
            0–255.
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
        """The state dict of the published network (for most, torchvision's), renamed to this network's keys."""
        return dict(state)


def stage_channels(published: Sequence[int], width: float | Sequence[int]) -> list[int]:
    """Channels of each stage: the published numbers times ``width``, or the numbers in ``width``.

    Raises:
        UserError: when ``width`` is neither a positive factor nor one positive number per stage.
    """
    if isinstance(width, Sequence):
        if len(width) != len(published) or min(width) < 1:
            raise UserError(f"width must be a factor or {len(published)} numbers of channels, got {list(width)}")
        return [int(channels) for channels in width]
    if width <= 0:
        raise UserError(f"width must be positive, got {width}")
    return [max(1, int(channels * width)) for channels in published]

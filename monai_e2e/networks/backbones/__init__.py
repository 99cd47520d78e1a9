"""The convolutional part of a patch classifier (paper §3.1.2, Table 1).

A backbone maps ``[B, C, H, W]`` to its last feature map ``[B, out_channels, H / stride, W / stride]``. Its parts are
named ``stage1``, ``stage2``, …, from input to output, so that a training plan works with any backbone. If torchvision
has the network, the state dict has torchvision's keys, so ImageNet weights load as they are. A new backbone is one
class and one line in :data:`BACKBONES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.networks.backbones.base import Backbone
from monai_e2e.networks.backbones.densenet import DenseNet121
from monai_e2e.networks.backbones.efficientnet import EfficientNetLite0
from monai_e2e.networks.backbones.resnet import ResNet50, ResNet50Keras
from monai_e2e.networks.backbones.vgg import VGG16, VGG19, YaroslavNet

__all__ = [
    "BACKBONES",
    "VGG16",
    "VGG19",
    "Backbone",
    "DenseNet121",
    "EfficientNetLite0",
    "ResNet50",
    "ResNet50Keras",
    "YaroslavNet",
    "check_options",
    "find_backbone",
    "make_backbone",
]

BACKBONES: Mapping[str, type[Backbone]] = {
    "resnet50": ResNet50,
    "vgg16": VGG16,
    "vgg19": VGG19,
    "densenet121": DenseNet121,
    "efficientnet_lite0": EfficientNetLite0,
    "yaroslavnet": YaroslavNet,
    "resnet50_keras": ResNet50Keras,
}


def find_backbone(name: str) -> type[Backbone]:
    """The backbone's class.

    Raises:
        UserError: when there is no backbone of that name; the message proposes the nearest name.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone '{name}': {did_you_mean(name, BACKBONES)}")
    return BACKBONES[name]


def make_backbone(
    name: str, in_channels: int | None = None, width: float | Sequence[int] = 1.0, **options: Any
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: a key of :data:`BACKBONES`.
        in_channels: channels of the input; None for the backbone's default.
        width: factor on every layer's channels, or a number of channels for each stage.
        options: further arguments of the backbone's class.

    Raises:
        UserError: when ``name`` is not in :data:`BACKBONES`, has no such option, or does not take this ``width``.
    """
    make = find_backbone(name)
    check_options(name, make, options)
    return make(make.image_channels if in_channels is None else in_channels, width, **options)


def check_options(name: str, make: type, options: Mapping[str, object]) -> None:
    """Raise a UserError that names the known options if one of ``options`` is not an argument of ``make``."""
    from_elsewhere = ("in_channels", "width", "block", "classifier")
    known = [option for option in inspect.signature(make).parameters if option not in from_elsewhere]
    for option in options:
        if option not in known:
            raise UserError(f"unknown option '{option}' of {name}, known: {', '.join(known) or 'none'}")

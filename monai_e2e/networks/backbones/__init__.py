"""The convolutional part of a patch classifier (paper §3.1.2, Table 1).

A backbone maps ``[B, C, H, W]`` to its last feature map ``[B, out_channels, H / stride, W / stride]`` and names
its parts ``stage1``, ``stage2``, …, from the input to the last map, so that a training plan can speak of "the last
stage" of any of them. State-dict keys are torchvision's where torchvision has the network, so ImageNet weights load
as they are. A new backbone is one class and one line in :data:`BACKBONES`.
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
    """The backbone of that name; raises a UserError with the nearest name that there is."""
    if name not in BACKBONES:
        raise UserError(f"unknown backbone '{name}': {did_you_mean(name, BACKBONES)}")
    return BACKBONES[name]


def make_backbone(
    name: str, in_channels: int | None = None, width: float | Sequence[int] = 1.0, **options: Any
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: a key of :data:`BACKBONES`.
        in_channels: channels of the input; None means what the backbone is made for.
        width: factor on every layer's channels, or the stages' own numbers of channels.
        options: what this backbone alone takes, see its class.

    Raises:
        UserError: when ``name`` is not in :data:`BACKBONES`, it has no such option, or ``width`` does not suit it.
    """
    make = find_backbone(name)
    check_options(name, make, options)
    return make(make.image_channels if in_channels is None else in_channels, width, **options)


def check_options(name: str, make: type, options: Mapping[str, object]) -> None:
    """Raise a UserError that names the known options when one of ``options`` is none of ``make``'s arguments."""
    from_elsewhere = ("in_channels", "width", "block", "classifier")
    known = [option for option in inspect.signature(make).parameters if option not in from_elsewhere]
    for option in options:
        if option not in known:
            raise UserError(f"unknown option '{option}' of {name}, known: {', '.join(known) or 'none'}")

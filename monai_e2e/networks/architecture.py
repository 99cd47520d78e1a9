"""How a checkpoint records its network's architecture and the preparation of its images.

The arguments that build the network are in its state dict as a buffer ``architecture``, JSON as bytes. So a checkpoint
has plain tensors only and still says which network it belongs to: a bundle that starts from it or evaluates it needs no
keys for backbone and top layers. A trained network has a second such buffer, ``patients``: the patients that it was
trained on, see :mod:`monai_e2e.networks.patients`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from monai_e2e.errors import UserError

#: Keys of recipes and of ``configs/models/*.json`` that define a network, with their defaults.
ARCHITECTURE: Mapping[str, Any] = MappingProxyType(
    {
        "backbone": "resnet50",
        "backbone_options": {},
        "in_channels": None,
        "width": 1.0,
        "pool_size": None,
        "patch_classes": 5,
        "top_blocks": [],
        "heatmap": None,
        "shortcut": False,
        "norm_eps": 1e-5,
    }
)


#: Buffers that describe a network and play no part in its computations; a file may lack them, and their length varies.
DESCRIPTIONS = ("architecture", "patients")

#: How a network's training images were made from mammograms, with the defaults: the paper's image size, the image's own
#: range of values, the paper's patch size, no crop and no mirroring.
PREPARATION: Mapping[str, Any] = MappingProxyType(
    {"image_size": [1152, 896], "voi_lut": False, "patch_size": 224, "crop": None, "orient": None},
)


def complete_preparation(preparation: Mapping[str, Any] | None) -> dict[str, Any]:
    """A preparation, completed by the defaults of :data:`PREPARATION`.

    Raises:
        UserError: when it has a key that is not in :data:`PREPARATION`.
    """
    given = dict(preparation or {})
    if unknown := set(given) - set(PREPARATION):
        raise UserError(f"preparation has unknown keys {sorted(unknown)}; allowed are: {', '.join(PREPARATION)}")
    return {**PREPARATION, **given}


def known_preparation(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """A preparation for a checkpoint, without keys that are None, so that older checkpoints compare equal."""
    return {key: value for key, value in preparation.items() if value is not None}


def architecture(network: nn.Module) -> dict[str, Any]:
    """The arguments of :func:`monai_e2e.networks.make_classifier` that build a classifier."""
    return decode_description(network.get_buffer("architecture"))


def encode_description(arguments: Mapping[str, Any]) -> torch.Tensor:
    """Plain values as JSON in a uint8 tensor ``[bytes]``."""
    content = json.dumps(arguments, sort_keys=True).encode()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def decode_description(buffer: torch.Tensor, name: str = "architecture") -> dict[str, Any]:
    """Reverse of :func:`encode_description`.

    Args:
        buffer: uint8 tensor ``[bytes]``.
        name: the buffer's name, for messages.

    Raises:
        ValueError: when the tensor does not hold a JSON object.
    """
    if buffer.dtype != torch.uint8 or buffer.ndim != 1:
        raise ValueError(f"'{name}' must be bytes, got {buffer.dtype} of shape {list(buffer.shape)}")
    try:
        content = json.loads(bytes(buffer.tolist()).decode())
    except RecursionError as error:
        raise ValueError(f"'{name}' is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{name}' must hold a JSON object, got {content!r}")
    return content

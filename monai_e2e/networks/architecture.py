"""What a classifier is made of, apart from its weights, and how a checkpoint says it.

The arguments that build the network travel in its state dict as a buffer ``architecture``, JSON as bytes. So a
checkpoint is plain tensors and says by itself which network it belongs to: a bundle that starts from it, or that
evaluates it, needs no key on backbone and top layers. A trained network has a second such buffer, ``patients``: whom
it was trained on, see :mod:`monai_e2e.seen`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from monai_e2e.errors import UserError

#: Keys of recipes and of ``configs/models/*.json`` that make a network, and what stands for those that are left out.
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


#: Buffers that say what a network is, not what it computes; files may have them or not, and of any length.
DESCRIPTIONS = ("architecture", "patients")

#: How films became the images that a network was trained on, as far as nothing else is said: the paper's size, the
#: film's own range of values, and patches of the paper's size.
PREPARATION: Mapping[str, Any] = MappingProxyType(
    {"image_size": [1152, 896], "voi_lut": False, "patch_size": 224},
)


def complete_preparation(preparation: Mapping[str, Any] | None) -> dict[str, Any]:
    """A preparation with what it leaves out.

    Raises:
        UserError: when it has a key that is none of :data:`PREPARATION`.
    """
    given = dict(preparation or {})
    if unknown := set(given) - set(PREPARATION):
        raise UserError(f"preparation has unknown keys {sorted(unknown)}; allowed are: {', '.join(PREPARATION)}")
    return {**PREPARATION, **given}


def architecture(network: nn.Module) -> dict[str, Any]:
    """What a classifier is made of: the arguments that :func:`monai_e2e.networks.make_classifier` takes."""
    return decode_architecture(network.get_buffer("architecture"))


def encode_architecture(arguments: Mapping[str, Any]) -> torch.Tensor:
    """Arguments of a network, plain values only, as a tensor ``[bytes]`` of uint8."""
    content = json.dumps(arguments, sort_keys=True).encode()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def decode_architecture(buffer: torch.Tensor, name: str = "architecture") -> dict[str, Any]:
    """Reverse of :func:`encode_architecture`. Raises a ValueError when the tensor holds no JSON object."""
    if buffer.dtype != torch.uint8 or buffer.ndim != 1:
        raise ValueError(f"'{name}' must be bytes, got {buffer.dtype} of shape {list(buffer.shape)}")
    content = json.loads(bytes(buffer.tolist()).decode())
    if not isinstance(content, dict):
        raise ValueError(f"'{name}' must hold a JSON object, got {content!r}")
    return content


def recorded_patients(network: nn.Module) -> dict[str, Any]:
    """Whom a network was trained on, as :func:`monai_e2e.seen.describe_patients` says it; empty if that isn't known."""
    buffer = getattr(network, "patients", None)
    return {} if buffer is None else decode_architecture(buffer, "patients")


def record_patients(network: nn.Module, patients: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Let a network remember whom it is trained on, and whom the network before it was."""
    both = {name: sorted({*patients.get(name, ()), *before.get(name, ())}) for name in ("training", "validation")}
    network.register_buffer("patients", encode_architecture({"fold": patients.get("fold"), **both}))

"""How a checkpoint records its network's architecture, the preparation of its images, and its training patients.

The arguments that build the network are in its state dict as a buffer ``architecture``, JSON as bytes. So a checkpoint
has plain tensors only and still says which network it belongs to: a bundle that starts from it or evaluates it needs no
keys for backbone and top layers. A trained network has a second such buffer, ``patients``: the patients that it was
trained on, see :mod:`monai_e2e.seen`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
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

#: Most pixels of an image that a checkpoint may ask for, four times those of the largest mammograms.
MAX_PIXELS = 2**27
#: Any network may have this many channels, whatever the tensors of its file.
_MAX_CHANNELS = 4096

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


def check_bounds(arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Refuse an architecture that is much larger than the file's tensors, before a network of that size is built.

    A file from an unknown source may claim anything.

    Args:
        arguments: the architecture that the file claims.
        state: the file's tensors.

    Raises:
        ValueError: when a number is too large; the message names it.
    """
    blocks = arguments.get("top_blocks") or []
    repeats = sum(int(times) for block in blocks for times in re.findall(r"x(\d{1,18})$", str(block)))
    if len(blocks) > len(state) or repeats > len(state):
        raise ValueError(f"top_blocks are {max(len(blocks), repeats)} layers or more, but it has {len(state)} tensors")
    preparation = arguments.get("preparation") or {}
    for size in (arguments.get("image_size"), preparation.get("image_size")):
        if size and math.prod(size) > MAX_PIXELS:
            raise ValueError(f"image_size {size} is more than {MAX_PIXELS} pixels")
    if preparation.get("patch_size", 0) > math.isqrt(MAX_PIXELS):
        raise ValueError(f"patch_size {preparation['patch_size']} is more than {math.isqrt(MAX_PIXELS)}")
    largest = max([_MAX_CHANNELS, *(size for tensor in state.values() for size in tensor.shape)])
    rest = {key: value for key, value in arguments.items() if key not in ("image_size", "preparation")}
    for number in _numbers(rest):
        if number > largest:
            raise ValueError(f"{number:g} channels are more than the {largest} of its largest tensor")


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in plain values, including those in strings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str):
        yield from (float(digits) for digits in re.findall(r"\d+", value))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)):
        yield float(value)


def recorded_patients(network: nn.Module) -> dict[str, Any]:
    """The patients that a network was trained on, see :func:`monai_e2e.seen.describe_patients`; empty if not known."""
    buffer = getattr(network, "patients", None)
    return {} if buffer is None else decode_description(buffer, "patients")


def register_patients(network: nn.Module) -> None:
    """Give a network the buffer ``patients``, which is None until it is trained or loads a state that has one."""
    network.register_buffer("patients", None)
    network.register_load_state_dict_pre_hook(_fit_patients)


def _fit_patients(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """Let a state be loaded whose buffer has another length, or that has none, as in earlier versions."""
    key, own = f"{prefix}patients", network.patients
    if key in state:
        network.register_buffer("patients", torch.empty_like(state[key]))
    elif isinstance(own, torch.Tensor):
        state[key] = own


def record_patients(network: nn.Module, patients: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Record the patients that a network is trained on, and those that its starting checkpoint was trained on.

    Args:
        network: its buffer ``patients`` is replaced.
        patients: as :func:`monai_e2e.seen.describe_patients` returns them.
        before: those of the checkpoint, or empty.
    """
    both = {name: sorted({*patients.get(name, ()), *before.get(name, ())}) for name in ("training", "validation")}
    own = {name: patients.get(name) for name in ("fold", "seed")}
    network.register_buffer("patients", encode_description({**own, **both}))

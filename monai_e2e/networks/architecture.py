"""What a classifier is made of, apart from its weights, and how a checkpoint says it.

The arguments that build the network travel in its state dict as a buffer ``architecture``, JSON as bytes. So a
checkpoint is plain tensors and says by itself which network it belongs to: a bundle that starts from it, or that
evaluates it, needs no key on backbone and top layers. A trained network has a second such buffer, ``patients``: whom
it was trained on, see :mod:`monai_e2e.seen`.
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

#: Pixels of the largest image that a checkpoint may ask for, four times those of the largest mammograms.
MAX_PIXELS = 2**27
#: Numbers up to this are channels, strides or windows of any network.
_MAX_CHANNELS = 4096

#: How mammograms became the images that a network was trained on, as far as nothing else is said: the paper's size, the
#: image's own range of values, patches of the paper's size, and the whole image as it lies.
PREPARATION: Mapping[str, Any] = MappingProxyType(
    {"image_size": [1152, 896], "voi_lut": False, "patch_size": 224, "crop": None, "orient": None},
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


def known_preparation(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """A preparation as checkpoints have it, without what isn't done, so that earlier ones say the same."""
    return {key: value for key, value in preparation.items() if value is not None}


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
    try:
        content = json.loads(bytes(buffer.tolist()).decode())
    except RecursionError as error:
        raise ValueError(f"'{name}' is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{name}' must hold a JSON object, got {content!r}")
    return content


def check_bounds(arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Refuse an architecture that its own weights can't be of, before anything of that size is built.

    A file from elsewhere may say anything. Raises a ValueError that names what is too much.

    Args:
        arguments: what the file says.
        state: its tensors.
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
    """All numbers in plain values, those in texts too."""
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
    """Whom a network was trained on, as :func:`monai_e2e.seen.describe_patients` says it; empty if that isn't known."""
    buffer = getattr(network, "patients", None)
    return {} if buffer is None else decode_architecture(buffer, "patients")


def register_patients(network: nn.Module) -> None:
    """Give a network the buffer ``patients``: absent until training or a state that is loaded says whom."""
    network.register_buffer("patients", None)
    network.register_load_state_dict_pre_hook(_fit_patients)


def _fit_patients(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """A state may have the buffer, of any length, or lack it, as those of earlier versions do."""
    key, own = f"{prefix}patients", network.patients
    if key in state:
        network.register_buffer("patients", torch.empty_like(state[key]))
    elif isinstance(own, torch.Tensor):
        state[key] = own


def record_patients(network: nn.Module, patients: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Let a network remember whom it is trained on, and whom the network before it was."""
    both = {name: sorted({*patients.get(name, ()), *before.get(name, ())}) for name in ("training", "validation")}
    own = {name: patients.get(name) for name in ("fold", "seed")}
    network.register_buffer("patients", encode_architecture({**own, **both}))

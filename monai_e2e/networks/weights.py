"""Reading checkpoints: what they record about their network, and loading their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from monai_e2e.checkpoints.files import read_state
from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import (
    DESCRIPTIONS,
    architecture,
    decode_description,
)
from monai_e2e.networks.classifiers import PatchClassifier, WholeImageClassifier, make_classifier
from monai_e2e.networks.empty import without_numbers

Network = TypeVar("Network", bound=nn.Module)

#: Most pixels of an image that a checkpoint may ask for, four times those of the largest mammograms.
_MAX_PIXELS = 2**27
#: Any network may have this many channels, whatever the tensors of its file.
_MAX_CHANNELS = 4096


def find_checkpoint(bundle_root: str | Path) -> str:
    """Path of a bundle's trained network: ``models/model.pt``, or ``models/model.ts`` if there is only that one."""
    models = Path(bundle_root) / "models"
    name = "model.ts" if (models / "model.ts").is_file() and not (models / "model.pt").is_file() else "model.pt"
    return str(models / name)


def read_pixel_mean(path: str | Path) -> float:
    """Mean intensity (0–255) of the images that the checkpoint was trained on.

    Raises:
        UserError: when the file can't be read or has no mean.
    """
    state = read_state(path)
    if "pixel_mean" not in state:
        raise UserError(f"{path} has no 'pixel_mean', so no monai-e2e bundle wrote it: name a checkpoint of one")
    return float(state["pixel_mean"])


def load_classifier(path: str | Path) -> PatchClassifier | WholeImageClassifier:
    """Build the classifier that a checkpoint describes, with its weights, in evaluation mode.

    Raises:
        UserError: when the file can't be read, does not describe its network, or does not fit the description.
    """
    found = read_architecture(path)
    try:
        # First on the meta device, so that no memory is taken for layers that the file doesn't have.
        with without_numbers():
            empty = make_classifier(**found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} does not say which network it belongs to ({error}): it was not written by this version's bundles; "
            "train it again, or evaluate it by the bundle that it comes from"
        ) from error
    _check_fit(empty, path, read_state(path))
    return load_weights(make_classifier(**found), path).eval()


def read_architecture(path: str | Path) -> dict[str, Any]:
    """The architecture that a checkpoint records; empty if it has none.

    Raises:
        UserError: when the file can't be read, or its architecture is invalid.
    """
    state = read_state(path)
    found = _description(path, state, "architecture")
    try:
        _check_bounds(found, state)
    except (ValueError, TypeError, AttributeError) as error:  # the latter two for values of the wrong type
        raise UserError(f"{path} is refused: its architecture is invalid ({error}); fetch it again") from error
    return found


def read_patients(path: str | Path) -> dict[str, Any]:
    """The patients that a checkpoint records, see :mod:`monai_e2e.seen`; empty if it has none.

    Raises:
        UserError: when the file can't be read.
    """
    return _description(path, read_state(path), "patients")


def _description(path: str | Path, state: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    if name not in state:
        return {}
    try:
        return decode_description(state[name], name)
    except ValueError as error:
        raise UserError(f"{path} is damaged: its {name} can't be read ({error}); fetch it again") from error


def load_weights(network: Network, path: str | Path, parts: Mapping[str, str] | None = None) -> Network:
    """Load all tensors of a checkpoint into a network, or those of some submodules.

    Args:
        network: the network, changed in place and returned.
        path: checkpoint file.
        parts: submodules to load, each with its name in the file, such as ``{"backbone": "backbone"}``; the file's
            other tensors are then ignored. None loads the whole network.

    Raises:
        UserError: when the file can't be read, or a tensor is missing, superfluous or of another shape.
    """
    state = read_state(path)
    wanted = _check_fit(network, path, state, parts)
    own = network.state_dict()
    if parts is None and "patients" in state and hasattr(network, "patients"):
        wanted = {**wanted, "patients": "patients"}
    network.load_state_dict({**own, **{key: state[source] for key, source in wanted.items()}})
    return network


def _check_fit(
    network: nn.Module, path: str | Path, state: Mapping[str, torch.Tensor], parts: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Keys of the network → keys of the file; raises a UserError if tensors are missing, superfluous or don't fit."""
    wanted = _wanted(network, parts)
    missing = [source for source in wanted.values() if source not in state]
    if missing:
        raise UserError(
            f"{path} does not fit: it lacks '{missing[0]}' and {len(missing) - 1} more of {len(wanted)}"
            + _both_architectures(network, state)
        )
    own = network.state_dict()
    for key, source in wanted.items():
        if state[source].shape != own[key].shape:
            raise UserError(
                f"{path} does not fit: '{source}' is {list(state[source].shape)} in the file and "
                f"{list(own[key].shape)} in the network" + _both_architectures(network, state)
            )
    extra = [key for key in state if parts is None and key not in wanted and key not in DESCRIPTIONS]
    if extra:
        raise UserError(
            f"{path} does not fit: it has '{extra[0]}' and {len(extra) - 1} more that the network lacks"
            + _both_architectures(network, state)
        )
    return wanted


def _wanted(network: nn.Module, parts: Mapping[str, str] | None) -> dict[str, str]:
    """Keys of the network that a file must fill → their keys in the file; descriptions are not loaded."""
    keys = [key for key in network.state_dict() if key not in DESCRIPTIONS]
    if parts is None:
        return {key: key for key in keys}
    return {
        key: f"{source}.{key.removeprefix(f'{part}.')}"
        for part, source in parts.items()
        for key in keys
        if key.startswith(f"{part}.")
    }


def _both_architectures(network: nn.Module, state: Mapping[str, torch.Tensor]) -> str:
    hint = "; it comes from another backbone or recipe (see the keys 'recipe', 'backbone', 'width')"
    if "architecture" not in state or "architecture" not in network.state_dict():
        return hint
    try:
        there, here = decode_description(state["architecture"]), architecture(network)
    except ValueError:
        return hint
    differing = [key for key in here if key in there and here[key] != there[key]]
    differences = "; ".join(f"{key} is {there[key]} in the file and {here[key]} in the network" for key in differing)
    return f": {differences}" if differences else hint


def _check_bounds(arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
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
        if size and math.prod(size) > _MAX_PIXELS:
            raise ValueError(f"image_size {size} is more than {_MAX_PIXELS} pixels")
    if preparation.get("patch_size", 0) > math.isqrt(_MAX_PIXELS):
        raise ValueError(f"patch_size {preparation['patch_size']} is more than {math.isqrt(_MAX_PIXELS)}")
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

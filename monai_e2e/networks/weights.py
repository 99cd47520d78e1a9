"""Reading weights from files and handing them from one network to the next (paper §2.1, §2.3, §3.2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from monai_e2e.checkpoints.files import read_state
from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import (
    ARCHITECTURE,
    DESCRIPTIONS,
    architecture,
    check_bounds,
    complete_preparation,
    decode_architecture,
    record_patients,
)
from monai_e2e.networks.classifiers import PatchClassifier, WholeImageClassifier, make_classifier
from monai_e2e.networks.imagenet import is_url, load_imagenet

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

_STARTS = ("checkpoint", "scratch", "imagenet", "server")


def find_checkpoint(bundle_root: str | Path) -> str:
    """A bundle's trained network: ``models/model.pt``, or ``models/model.ts`` where the exported one is alone."""
    models = Path(bundle_root) / "models"
    name = "model.ts" if (models / "model.ts").is_file() and not (models / "model.pt").is_file() else "model.pt"
    return str(models / name)


def read_pixel_mean(path: str | Path) -> float:
    """Mean intensity (0–255) of the images that the checkpoint was trained on."""
    state = read_state(path)
    if "pixel_mean" not in state:
        raise UserError(f"{path} has no 'pixel_mean': it was not written by a monai-e2e bundle")
    return float(state["pixel_mean"])


def choose_architecture(
    settings: Mapping[str, Any], checkpoint: str | Path | None = None, weights: str = "checkpoint"
) -> dict[str, Any]:
    """What a bundle's network is made of: what the checkpoint that it starts from says, else what the recipe says.

    So a network of any architecture is handed on from bundle to bundle by its checkpoint alone.

    Args:
        settings: the recipe; its keys that are none of :data:`monai_e2e.networks.ARCHITECTURE` are left aside.
        checkpoint: file that the network will be loaded from, where there is one; it may be absent.
        weights: as in :func:`initialize`; the checkpoint counts only where it is used.

    Returns:
        Every key of :data:`monai_e2e.networks.ARCHITECTURE`.

    Raises:
        UserError: when the file is there and cannot be read.
    """
    chosen = {key: settings.get(key, default) for key, default in ARCHITECTURE.items()}
    if weights != "checkpoint" or checkpoint is None or not Path(checkpoint).is_file():
        return chosen
    found = read_architecture(checkpoint)
    # None for in_channels means the backbone's own, which the checkpoint has as a number.
    differing = [key for key, value in chosen.items() if found.get(key, value) != value and key != "in_channels"]
    if differing:
        logger.info(
            "The network is made as %s says: %s.", checkpoint, ", ".join(f"{key} {found[key]}" for key in differing)
        )
    return {key: found.get(key, value) for key, value in chosen.items()}


def choose_preparation(settings: Mapping[str, Any], checkpoint: str | Path | None = None) -> dict[str, Any]:
    """How mammograms are made into a network's images: what its checkpoint says, else what the recipe says.

    Args:
        settings: the recipe, which may have ``image_size`` and ``patch_size``.
        checkpoint: file of the network's weights; it may be absent.

    Returns:
        Every key of :data:`monai_e2e.networks.PREPARATION`.

    Raises:
        UserError: when the file is there and cannot be read.
    """
    if checkpoint is not None and Path(checkpoint).is_file():
        found = read_architecture(checkpoint).get("preparation")
        if found is not None:
            return complete_preparation(found)
    return complete_preparation({key: settings[key] for key in ("image_size", "patch_size") if key in settings})


def check_preparation(preparation: Mapping[str, Any], checkpoint: str | Path | None) -> dict[str, Any]:
    """Refuse images that were made otherwise than those that a network was trained on; else return ``preparation``.

    Args:
        preparation: how the images were made, as :func:`monai_e2e.data.preparation` says it.
        checkpoint: file of the network's weights; None refuses nothing.

    Raises:
        UserError: when the file cannot be read, or says that its images were made otherwise.
    """
    wanted = preparation if checkpoint is None else choose_preparation(preparation, checkpoint)
    for key, value in preparation.items():
        if value != wanted[key]:
            raise UserError(
                f"{checkpoint} was trained on images with {key} {wanted[key]}, these have {value}: prepare the images "
                "with the same settings, or train on these"
            )
    return dict(preparation)


def load_classifier(path: str | Path) -> PatchClassifier | WholeImageClassifier:
    """Build the classifier that a checkpoint says it belongs to, with its weights, in evaluation mode.

    Raises:
        UserError: when the file cannot be read, does not say which network it belongs to, or does not fit it.
    """
    found = read_architecture(path)
    try:
        # Without numbers first, so that no memory is taken for layers that the file doesn't have.
        with torch.device("meta"):
            empty = make_classifier(**found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} does not say which network it belongs to ({error}): it was not written by this version's bundles; "
            "train it again, or evaluate it by the bundle that it comes from"
        ) from error
    _check_fit(empty, path, read_state(path))
    return load_weights(make_classifier(**found), path).eval()


def read_architecture(path: str | Path) -> dict[str, Any]:
    """The architecture that a checkpoint says it belongs to; empty where it says nothing.

    Raises:
        UserError: when the file cannot be read.
    """
    state = read_state(path)
    found = _description(path, state, "architecture")
    try:
        check_bounds(found, state)
    except (ValueError, TypeError, AttributeError) as error:  # the latter two of values of other kinds
        raise UserError(f"{path} is refused: its architecture is none ({error}); fetch it again") from error
    return found


def read_patients(path: str | Path) -> dict[str, Any]:
    """Whom a checkpoint's network was trained on, see :mod:`monai_e2e.seen`; empty where it says nothing.

    Raises:
        UserError: when the file cannot be read.
    """
    return _description(path, read_state(path), "patients")


def _description(path: str | Path, state: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    if name not in state:
        return {}
    try:
        return decode_architecture(state[name], name)
    except ValueError as error:
        raise UserError(f"{path} is damaged: its {name} can't be read ({error}); fetch it again") from error


def load_weights(network: Network, path: str | Path, parts: Mapping[str, str] | None = None) -> Network:
    """Load a checkpoint into a network, every tensor of it.

    Args:
        network: the network, changed in place and returned.
        path: checkpoint file.
        parts: submodules to load alone, each with its name in the file, such as ``{"backbone": "backbone"}``; the
            file's other tensors are then left aside.

    Raises:
        UserError: when the file cannot be read or a tensor is missing or has another shape.
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
    """The network's keys that the file fills → the file's; raises a UserError where a tensor lacks or is of no use."""
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
    """Keys of the network that a file must fill → their keys in the file; descriptions are the network's own."""
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
        there, here = decode_architecture(state["architecture"]), architecture(network)
    except ValueError:
        return hint
    differing = [key for key in here if key in there and here[key] != there[key]]
    differences = "; ".join(f"{key} is {there[key]} in the file and {here[key]} in the network" for key in differing)
    return f": {differences}" if differences else hint


def describe_start(weights: str, checkpoint: str | Path | None = None) -> str:
    """What a training starts from, in words; arguments as of :func:`initialize`."""
    if weights == "checkpoint" and checkpoint is not None and Path(checkpoint).is_file():
        return f"checkpoint {checkpoint}"
    names = {"scratch": "scratch", "imagenet": "ImageNet weights", "server": "the server's weights"}
    return names.get(weights, f"weights {weights}")


def initialize(
    network: nn.Module,
    weights: str,
    checkpoint: str | Path | None,
    parts: Mapping[str, str] | None,
    first: str,
    patients: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Give a network the weights that its training starts from.

    Its ``pixel_mean`` and ``threshold`` stay, since they belong to the images that it is trained on now, not to those
    of the checkpoint.

    Args:
        network: the network, changed in place and returned.
        weights: ``"checkpoint"``, ``"scratch"``, ``"imagenet"``, or a file or URL of ImageNet weights for the backbone;
            ``"server"``: random ones as of ``"scratch"``, which a federation's server replaces.
        checkpoint: the previous step's checkpoint, None where there is no previous step.
        parts: submodules that the checkpoint fills, as in :func:`load_weights`; None for the whole network.
        first: the command that makes the checkpoint, for the message when it is absent.
        patients: whom it is trained on, see :func:`monai_e2e.seen.describe_patients`; it remembers them, and those that
            the checkpoint's network was trained on.

    Raises:
        UserError: when the checkpoint is required and absent, or does not fit.
    """
    if weights not in _STARTS and not is_url(weights) and not Path(weights).is_file():
        raise UserError(f"weights '{weights}': no such file; give a file, an URL or one of: {', '.join(_STARTS)}")
    if weights == "checkpoint" and checkpoint is None:
        raise UserError(f"weights '{weights}' needs a checkpoint: this training has none before it")
    present = checkpoint is not None and Path(checkpoint).is_file()
    if weights == "checkpoint" and not present:
        raise UserError(
            f"no checkpoint at {checkpoint}: first run `{first}`, name a checkpoint or a shipped model "
            "(`monai-e2e models` lists them), or choose another start with `--weights imagenet` or `--weights scratch`"
        )
    if weights == "checkpoint":
        kept = {name: value.clone() for name, value in network.named_buffers() if name in ("pixel_mean", "threshold")}
        load_weights(network, str(checkpoint), parts)
        for name, value in kept.items():
            network.get_buffer(name).copy_(value)
        logger.info("Starting from %s.", checkpoint)
    elif weights == "scratch":
        logger.info("Training from scratch, as asked.")
    elif weights == "server":
        logger.info("Random weights, until the server sends its own.")
    else:
        load_imagenet(network.get_submodule("backbone"), weights)
    if patients is not None:
        before = read_patients(str(checkpoint)) if weights == "checkpoint" and present else {}
        if leaked := set(before.get("training", ())) & set(patients["validation"]):
            logger.warning(
                "%d of %d validation patients were in the training of %s, so the validation will look too good: train "
                "both with the same fold.",
                len(leaked),
                len(patients["validation"]),
                checkpoint,
            )
        record_patients(network, patients, before)
    return network

"""What a network starts from: the step before, ImageNet weights, or random weights (paper §2.1, §2.3, §3.2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import ARCHITECTURE, complete_preparation
from monai_e2e.networks.imagenet import is_url, load_imagenet
from monai_e2e.networks.patients import record_patients
from monai_e2e.networks.weights import load_weights, read_architecture, read_patients

logger = logging.getLogger(__name__)

_STARTS = ("checkpoint", "scratch", "imagenet", "server")


def choose_architecture(
    settings: Mapping[str, Any], checkpoint: str | Path | None = None, weights: str = "checkpoint"
) -> dict[str, Any]:
    """The architecture of a bundle's network: that of the checkpoint that it starts from, otherwise the recipe's.

    So a checkpoint is enough to pass a network of any architecture from bundle to bundle.

    Args:
        settings: the recipe; keys that are not in :data:`monai_e2e.networks.ARCHITECTURE` are ignored.
        checkpoint: file that the network will be loaded from, or None; the file may be absent.
        weights: as in :func:`initialize`; the checkpoint is used only if it is ``"checkpoint"``.

    Returns:
        A value for every key of :data:`monai_e2e.networks.ARCHITECTURE`.

    Raises:
        UserError: when the file exists but can't be read.
    """
    chosen = {key: settings.get(key, default) for key, default in ARCHITECTURE.items()}
    if weights != "checkpoint" or checkpoint is None or not Path(checkpoint).is_file():
        return chosen
    found = read_architecture(checkpoint)
    # None for in_channels means the backbone's default, which the checkpoint has as a number.
    differing = [key for key, value in chosen.items() if found.get(key, value) != value and key != "in_channels"]
    if differing:
        logger.info(
            "The architecture is that of %s: %s.", checkpoint, ", ".join(f"{key} {found[key]}" for key in differing)
        )
    return {key: found.get(key, value) for key, value in chosen.items()}


def choose_preparation(settings: Mapping[str, Any], checkpoint: str | Path | None = None) -> dict[str, Any]:
    """How mammograms are prepared for a network: as its checkpoint says, otherwise as the recipe says.

    Args:
        settings: the recipe, which may have ``image_size`` and ``patch_size``.
        checkpoint: file of the network's weights, or None; the file may be absent.

    Returns:
        A value for every key of :data:`monai_e2e.networks.PREPARATION`.

    Raises:
        UserError: when the file exists but can't be read.
    """
    if checkpoint is not None and Path(checkpoint).is_file():
        found = read_architecture(checkpoint).get("preparation")
        if found is not None:
            return complete_preparation(found)
    return complete_preparation({key: settings[key] for key in ("image_size", "patch_size") if key in settings})


def check_preparation(preparation: Mapping[str, Any], checkpoint: str | Path | None) -> dict[str, Any]:
    """Check that images were prepared like those that a network was trained on; returns ``preparation``.

    Args:
        preparation: how the images were prepared, as :func:`monai_e2e.data.preparation` returns it.
        checkpoint: file of the network's weights; None checks nothing.

    Raises:
        UserError: when the file can't be read, or its images were prepared in another way.
    """
    wanted = preparation if checkpoint is None else choose_preparation(preparation, checkpoint)
    for key, value in preparation.items():
        if value != wanted[key]:
            raise UserError(
                f"{checkpoint} was trained on images with {key} {wanted[key]}, these have {value}: prepare the images "
                "with the same settings, or train a model on these"
            )
    return dict(preparation)


def describe_start(weights: str, checkpoint: str | Path | None = None) -> str:
    """What a training starts from, in words; for the arguments see :func:`initialize`."""
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

    Its ``pixel_mean`` and ``threshold`` are not loaded, since they belong to the images of this training, not to those
    of the checkpoint.

    Args:
        network: the network, changed in place and returned.
        weights: ``"checkpoint"``; ``"scratch"`` for random weights; ``"imagenet"``, a file or a URL for ImageNet
            weights of the backbone; ``"server"`` for random weights that a federation's server will replace.
        checkpoint: the previous step's checkpoint, None where there is no previous step.
        parts: submodules that the checkpoint fills, as in :func:`~monai_e2e.networks.load_weights`; None for the whole
            network.
        first: the command that makes the checkpoint, for the message when it is absent.
        patients: patients of this training, see :func:`monai_e2e.seen.describe_patients`; they are recorded in the
            network together with those of the checkpoint. None records none.

    Raises:
        UserError: when ``weights`` is unknown, the checkpoint is required and absent, or weights don't fit.
    """
    if weights == "checkpoint":
        _load_checkpoint(network, checkpoint, parts, first)
    elif weights == "scratch":
        logger.info("Starting from random weights.")
    elif weights == "server":
        logger.info("Starting from random weights, until the server sends its own.")
    elif weights == "imagenet" or is_url(weights) or Path(weights).is_file():
        load_imagenet(network.get_submodule("backbone"), weights)
    else:
        raise UserError(f"weights '{weights}': no such file; give a file, a URL or one of: {', '.join(_STARTS)}")
    if patients is not None:
        before = read_patients(str(checkpoint)) if weights == "checkpoint" else {}
        validation = {*patients["validation"], *patients.get("validation_as_written", ())}
        if leaked := set(before.get("training", ())) & validation:
            logger.warning(
                "%d of %d validation patients were in the training of %s, so the validation will look too good: train "
                "both with the same fold.",
                len(leaked),
                len(patients["validation"]),
                checkpoint,
            )
        record_patients(network, patients, before)
    return network


def _load_checkpoint(
    network: nn.Module, checkpoint: str | Path | None, parts: Mapping[str, str] | None, first: str
) -> None:
    if checkpoint is None:
        raise UserError("weights 'checkpoint' needs a checkpoint: this training has none before it")
    if not Path(checkpoint).is_file():
        raise UserError(
            f"no checkpoint at {checkpoint}: first run `{first}`, name a checkpoint or a shipped model "
            "(`monai-e2e models` lists them), or choose another start with `--weights imagenet` or `--weights scratch`"
        )
    kept = {name: value.clone() for name, value in network.named_buffers() if name in ("pixel_mean", "threshold")}
    load_weights(network, str(checkpoint), parts)
    for name, value in kept.items():
        network.get_buffer(name).copy_(value)
    logger.info("Starting from %s.", checkpoint)

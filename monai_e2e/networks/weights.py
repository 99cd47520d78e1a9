"""Reading weights from files and handing them from one network to the next (paper §2.1, §2.3, §3.2)."""

from __future__ import annotations

import logging
import pickle
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: What ``torch.load`` raises on files that aren't checkpoints (it has no common base class).
_LOAD_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
)
_STARTS = ("checkpoint", "checkpoint_or_scratch", "scratch", "imagenet")

#: torchvision's ImageNet weights (IMAGENET1K_V1); the eight digits in the name begin the file's SHA-256.
IMAGENET_URLS = {
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
}


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict of plain tensors.

    Args:
        path: a file written by ``torch.save``; either the state dict or a dict that holds it under ``"model"``.

    Raises:
        UserError: when the file is absent, is not a checkpoint or holds anything but plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: train the model first, or name another file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _LOAD_ERRORS as error:
        # Torch's own message advises weights_only=False, which would run whatever code the file carries.
        raise UserError(
            f"{path} can't be read as plain tensors: it is damaged, no checkpoint, or holds Python objects, which may "
            "carry code; fetch it again, or save the network's state_dict() with torch.save"
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of tensors: save network.state_dict()")
    return state


def read_pixel_mean(path: str | Path) -> float:
    """Mean intensity (0–255) of the images that the checkpoint was trained on."""
    state = read_state(path)
    if "pixel_mean" not in state:
        raise UserError(f"{path} has no 'pixel_mean': it was not written by a monai-e2e bundle")
    return float(state["pixel_mean"])


def load_weights(network: nn.Module, path: str | Path, part: str = "") -> nn.Module:
    """Load a checkpoint into a network, every tensor of it.

    Args:
        network: the network, changed in place and returned.
        path: checkpoint file.
        part: submodule to load alone, such as ``"backbone"``; the file's other tensors are then left aside.

    Raises:
        UserError: when the file cannot be read or a tensor is missing or has another shape.
    """
    state = read_state(path)
    prefix = f"{part}." if part else ""
    wanted = {key: value for key, value in network.state_dict().items() if key.startswith(prefix)}
    missing = [key for key in wanted if key not in state]
    if missing:
        raise UserError(f"{path} does not fit: it lacks '{missing[0]}' and {len(missing) - 1} more of {len(wanted)}")
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            raise UserError(
                f"{path} does not fit: '{key}' is {list(state[key].shape)} in the file and {list(value.shape)} in the "
                "network; it comes from another backbone or recipe (see the keys 'recipe', 'backbone', 'width')"
            )
    extra = [key for key in state if not part and key not in wanted]
    if extra:
        raise UserError(f"{path} does not fit: it has '{extra[0]}' and {len(extra) - 1} more that the network lacks")
    network.load_state_dict({**network.state_dict(), **{key: state[key] for key in wanted}})
    return network


def load_imagenet(backbone: nn.Module, source: str) -> nn.Module:
    """Load torchvision's ImageNet weights into a backbone, leaving its classifier aside.

    Args:
        backbone: a backbone of :data:`monai_e2e.networks.BACKBONES` at width 1.0 with three input channels.
        source: ``"imagenet"``, an URL whose file name carries its SHA-256 as torchvision's do, or a local file.

    Raises:
        UserError: when the download fails, the hash differs or the weights don't fit.
    """
    if source == "imagenet":
        name = type(backbone).__name__.lower()
        if name not in IMAGENET_URLS:
            raise UserError(f"no ImageNet weights known for '{name}', only for: {', '.join(IMAGENET_URLS)}")
        source = IMAGENET_URLS[name]
    if _is_url(source):
        source = _download(source)
    state = read_state(source)
    wanted = backbone.state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked") and key not in state:
            continue  # older files lack these counters, which nothing here reads
        if key not in state or state[key].shape != value.shape:
            found = list(state[key].shape) if key in state else "absent"
            raise UserError(f"{source} does not fit: '{key}' is {found}, not {list(value.shape)}")
    backbone.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    logger.info("Backbone starts from %s.", source)
    return backbone


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _download(url: str) -> str:
    name = url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / name
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        digest = torch.hub.HASH_REGEX.search(name)
        try:
            torch.hub.download_url_to_file(url, str(target), hash_prefix=digest.group(1) if digest else None)
        except (URLError, HTTPException, OSError, RuntimeError) as error:
            raise UserError(
                f"cannot download {url} ({error}): fetch it elsewhere and put it at {target}, or pass --weights FILE"
            ) from error
    return str(target)


def initialize(network: nn.Module, weights: str, checkpoint: str | Path | None, part: str, first: str) -> nn.Module:
    """Give a network the weights that its training starts from.

    Its ``pixel_mean`` stays, since it belongs to the images that it is trained on now, not to those of the checkpoint.

    Args:
        network: the network, changed in place and returned.
        weights: ``"checkpoint"`` (required), ``"checkpoint_or_scratch"`` (used if it is there), ``"scratch"``,
            ``"imagenet"``, or a file or URL of ImageNet weights for the backbone.
        checkpoint: the previous step's checkpoint, None where there is no previous step.
        part: submodule that the checkpoint fills, ``""`` for the whole network.
        first: the command that makes the checkpoint, for the message when it is absent.

    Raises:
        UserError: when the checkpoint is required and absent, or does not fit.
    """
    if weights not in _STARTS and not _is_url(weights) and not Path(weights).is_file():
        raise UserError(f"weights '{weights}': no such file; give a file, an URL or one of: {', '.join(_STARTS)}")
    if weights in ("checkpoint", "checkpoint_or_scratch") and checkpoint is None:
        raise UserError(f"weights '{weights}' needs a checkpoint: this training has none before it")
    present = checkpoint is not None and Path(checkpoint).is_file()
    if weights == "checkpoint" and not present:
        raise UserError(
            f"no checkpoint at {checkpoint}: first run `{first}`, or choose another start by name with "
            "`--weights imagenet` or `--weights scratch`"
        )
    if weights == "checkpoint_or_scratch" and not present:
        logger.warning(
            "No checkpoint at %s: training from scratch. To start from it, first run `%s`.", checkpoint, first
        )
    elif weights in ("checkpoint", "checkpoint_or_scratch"):
        pixel_mean = network.get_buffer("pixel_mean").clone()
        load_weights(network, str(checkpoint), part)
        network.get_buffer("pixel_mean").copy_(pixel_mean)
        logger.info("Starting from %s.", checkpoint)
    elif weights == "scratch":
        logger.info("Training from scratch, as asked.")
    else:
        load_imagenet(network.get_submodule("backbone"), weights)
    return network

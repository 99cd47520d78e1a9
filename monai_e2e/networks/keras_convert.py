"""Convert the author's published Keras models, with their weights, to this package's classifiers.

A converted model is a network like any other: its checkpoint records its architecture, and the bundles can start from
it or evaluate it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from monai_e2e.checkpoints.files import save_atomically
from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import architecture
from monai_e2e.networks.classifiers import PatchClassifier, WholeImageClassifier, make_classifier
from monai_e2e.networks.empty import without_numbers
from monai_e2e.networks.keras_file import KerasLayer, read_keras
from monai_e2e.networks.keras_graph import GraphReader

logger = logging.getLogger(__name__)

#: Mean intensities (0–255) that the author subtracted, for models of CBIS-DDSM and of INbreast.
PUBLISHED_MEANS = {"CBIS-DDSM": 52.18, "INbreast": 44.33}


def convert_keras(path: str | Path, pixel_mean: float | None = None) -> nn.Module:
    """Read one of the author's Keras models as a :class:`PatchClassifier` or :class:`WholeImageClassifier`.

    Args:
        path: ``.h5`` file with model and weights, written by ``model.save`` of Keras 2.
        pixel_mean: mean intensity (0–255) that was subtracted from the images. None: the published one of INbreast if
            the file's name contains "inbreast", else that of CBIS-DDSM.

    Returns:
        The classifier in evaluation mode; the softmax of its logits is Keras's output.

    Raises:
        UserError: when the file can't be read, or holds another network than the author's program makes.
    """
    graph = GraphReader(read_keras(path))
    arguments = graph.architecture()
    if pixel_mean is None:
        dataset = "INbreast" if "inbreast" in Path(path).name.lower() else "CBIS-DDSM"
        pixel_mean = PUBLISHED_MEANS[dataset]
        logger.info("Pixel mean %.2f, as published for models of %s (chosen by the file's name).", pixel_mean, dataset)
    with without_numbers():
        try:
            network = make_classifier(**arguments)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
    state = {"pixel_mean": torch.tensor(pixel_mean), "architecture": network.get_buffer("architecture")}
    if isinstance(network, WholeImageClassifier):
        state["threshold"] = torch.tensor(0.0)
    for key, layer in graph.layers.items():
        state |= _tensors(key, layer)
    if isinstance(network, WholeImageClassifier) and "fully_connected.fc1.0.weight" in state:
        for key in ("fully_connected.fc1.0.weight", "shortcut.weight"):
            if key in state:
                state[key] = _channels_first(state[key], network.map_size(arguments["image_size"]))
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif state[key].shape != value.shape:
            layer = graph.layers[key.rpartition(".")[0]]
            raise graph.refusal(layer, f"holds an array {list(state[key].shape)} for '{key}' {list(value.shape)}")
    network.load_state_dict(state, assign=True)
    return network.eval()


def summarize(network: nn.Module) -> str:
    """One line about a classifier: kind, architecture, number of parameters, pixel mean."""
    made = architecture(network)
    parts = [made["backbone"]]
    if made.get("heatmap") is not None:
        parts.append("heatmap")
    parts += made.get("top_blocks", [])
    kind = "whole-image" if isinstance(network, WholeImageClassifier) else f"{made['patch_classes']}-class patch"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    mean = network.get_buffer("pixel_mean").item()
    return f"{kind} classifier {' + '.join(parts)}, {parameters:,} parameters, pixel mean {mean:.2f}"


def install_in_bundle(network: nn.Module, bundle: str | Path) -> Path:
    """Write a converted network as a bundle's model, so that the bundle can evaluate and run it.

    Returns:
        The checkpoint's path, ``<bundle>/models/model.pt``.

    Raises:
        UserError: when the folder is not a bundle, is for the other kind of classifier, or already has a model.
    """
    config, target = Path(bundle) / "configs" / "inference.json", Path(bundle) / "models" / "model.pt"
    try:
        wanted = json.loads(config.read_text())["network_def"]["_target_"].rpartition(".")[2]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{bundle} is not a bundle of monai-e2e ({config}: {error}): make one with `monai-e2e bundle NAME DIR`"
        ) from error
    if wanted != type(network).__name__:
        which = "ddsm_patch" if isinstance(network, PatchClassifier) else "ddsm_whole or inbreast_transfer"
        raise UserError(f"{bundle} is for a {wanted}, and this model is a {type(network).__name__}: take {which}")
    if target.exists():
        raise UserError(f"{target} exists: move it away, or give a copy of the bundle")
    save_atomically(network.state_dict(), target)
    return target


def _tensors(key: str, layer: KerasLayer) -> dict[str, torch.Tensor]:
    """A Keras layer's arrays as PyTorch's: ``[H, W, in, out]`` → ``[out, in, H, W]``, ``[in, out]`` → ``[out, in]``."""
    names = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    tensors = {}
    for role, array in layer.weights.items():
        if role == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        tensors[f"{key}.{names[role]}"] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors


def _channels_first(weight: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Reorder the inputs of a linear layer after ``Flatten``, whose order is rows, columns, channels in Keras."""
    channels, rows, columns = size
    by_position = weight.reshape(-1, rows, columns, channels)
    return by_position.permute(0, 3, 1, 2).reshape(weight.shape).contiguous()

"""Heatmaps: what the patch classifier says of every window of a whole image (paper §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from scipy.ndimage import map_coordinates

from monai_e2e.networks import PatchClassifier


class HeatmapInferer(Inferer):
    """Run a patch classifier fully-convolutionally over whole images.

    Args:
        window: side of the patches that the classifier was trained on, in pixels.

    Shape: input ``[B, C, H, W]``, prepared as patches are; output logits ``[B, num_classes, h, w]``. Take the
    softmax over dimension 1 for the probabilities.

    Raises:
        TypeError: when the network is not a patch classifier.
        ValueError: when the window is not a multiple of the backbone's stride or larger than the image.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if min(inputs.shape[-2:]) < self.window:
            raise ValueError(
                f"images of {tuple(inputs.shape[-2:])} pixels are smaller than the window of {self.window}"
            )
        if not isinstance(network, PatchClassifier):
            raise TypeError(f"heatmaps are made by a PatchClassifier, got {type(network).__name__}")
        return network.forward_windows(inputs, self.window)


def upsample_heatmap(heatmap: np.ndarray, image_size: Sequence[int], window: int, stride: int) -> np.ndarray:
    """Enlarge one map of window scores to the image, each score at the centre of its window.

    Args:
        heatmap: ``[h, w]``.
        image_size: rows and columns of the image.
        window: side of the windows, in pixels.
        stride: distance of neighbouring windows, in pixels.

    Returns:
        float ``[*image_size]``, linear between the centres; beyond the outermost ones their value goes on.
    """
    rows, columns = ((np.arange(size) + 0.5 - window / 2) / stride for size in image_size)
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(heatmap, grid, order=1, mode="nearest")

"""Heatmaps: what the patch classifier says of every window of a whole image (paper §2.1).

Position (i, j) of a heatmap belongs to the window whose first row is ``stride * i`` and whose first column is
``stride * j``, see :func:`window_boxes`. Its score is exactly what the classifier says of that window within its
surroundings: of a crop of the image that reaches the network's receptive field beyond the window and starts at a
multiple of the stride. A window cut out alone, as in training, scores a little differently, since each convolution
then finds zeros at the window's edge where the image has pixels; ``benchmarks/heatmap.py`` measures by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from scipy.ndimage import affine_transform

from monai_e2e.errors import UserError
from monai_e2e.networks import PatchClassifier


class HeatmapInferer(Inferer):
    """Run a patch classifier fully-convolutionally over whole images.

    Args:
        window: side of the patches that the classifier was trained on, in pixels.

    Shape: input ``[B, C, H, W]``, prepared as patches are; output logits ``[B, num_classes, h, w]``. Take the
    softmax over dimension 1 for the probabilities.

    Raises:
        TypeError: when the network is not a patch classifier.
        UserError: when the window is not a multiple of the backbone's stride or larger than the image.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if min(inputs.shape[-2:]) < self.window:
            raise UserError(
                f"images of {tuple(inputs.shape[-2:])} pixels are smaller than the window of {self.window}: prepare "
                "them at the size that the classifier was trained on"
            )
        if not isinstance(network, PatchClassifier):
            raise TypeError(f"heatmaps are made by a PatchClassifier, got {type(network).__name__}")
        return network.forward_windows(inputs, self.window)


def window_boxes(heatmap_size: Sequence[int], window: int, stride: int) -> np.ndarray:
    """Which pixels of the image each position of a heatmap stands for.

    Args:
        heatmap_size: rows and columns of the heatmap.
        window: side of the windows, in pixels.
        stride: distance of neighbouring windows, in pixels: the backbone's ``stride``.

    Returns:
        int ``[h, w, 4]``: first row, first column, and one past the last row and column. Where a side of the image is
        no multiple of the stride, ResNet's last windows reach beyond the image, and VGG's leave its last pixels out.
    """
    first = stride * np.moveaxis(np.indices(tuple(heatmap_size)), 0, -1)
    return np.concatenate([first, first + window], axis=-1)


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
    first = (0.5 - window / 2) / stride
    return affine_transform(heatmap, [1 / stride] * 2, first, tuple(image_size), order=1, mode="nearest")

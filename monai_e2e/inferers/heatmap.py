"""Heatmaps: the patch classifier's scores for every window of a whole image (paper §2.1).

Position (i, j) of a heatmap belongs to the window whose first row is ``stride * i`` and whose first column is
``stride * j``, see :func:`window_boxes`. Its score is the classifier's score for that window within its surroundings,
that is, for a larger crop that starts at a multiple of the stride and extends beyond the window by the receptive field.
The score of the window cut out alone, as in training, differs: each convolution then pads the window's edge with zeros,
where the image has pixels. ``benchmarks/heatmap.py`` measures the difference.
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
    """Run a patch classifier fully convolutionally over whole images.

    Args:
        window: side of the patches that the classifier was trained on, in pixels.

    Shape: input ``[B, C, H, W]``, prepared like patches; output logits ``[B, num_classes, h, w]``, whose softmax over
    dimension 1 gives the probabilities.

    Raises:
        TypeError: when the network is not a patch classifier.
        UserError: when the window is larger than the image, or not a multiple of the backbone's stride.
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
    """The image's pixels that each position of a heatmap belongs to.

    Args:
        heatmap_size: rows and columns of the heatmap.
        window: side of the windows, in pixels.
        stride: distance between windows in pixels, the backbone's ``stride``.

    Returns:
        int ``[h, w, 4]``: first row, first column, and one past the last row and column. If a side of the image is not
        a multiple of the stride, the last windows of ResNet extend beyond the image, and those of VGG end before its
        edge.
    """
    first = stride * np.moveaxis(np.indices(tuple(heatmap_size)), 0, -1)
    return np.concatenate([first, first + window], axis=-1)


def upsample_heatmap(heatmap: np.ndarray, image_size: Sequence[int], window: int, stride: int) -> np.ndarray:
    """Enlarge a map of window scores to the image's size, with each score at the centre of its window.

    Args:
        heatmap: ``[h, w]``.
        image_size: rows and columns of the image.
        window: side of the windows, in pixels.
        stride: distance between windows, in pixels.

    Returns:
        float ``[*image_size]``, interpolated linearly between the centres and constant beyond the outermost ones.
    """
    first = (0.5 - window / 2) / stride
    return affine_transform(heatmap, [1 / stride] * 2, first, tuple(image_size), order=1, mode="nearest")

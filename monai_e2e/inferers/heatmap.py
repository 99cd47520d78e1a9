"""Heatmaps: what the patch classifier says of every window of a whole image (paper §2.1)."""

from __future__ import annotations

import torch
from monai.inferers import Inferer

from monai_e2e.networks import PatchClassifier


class HeatmapInferer(Inferer):
    """Run a patch classifier fully-convolutionally over whole images.

    Args:
        window: side of the patches that the classifier was trained on, in pixels.

    Shape: input ``[B, C, H, W]``, prepared as patches are; output logits ``[B, num_classes, h, w]``. Take the
    softmax over dimension 1 for the probabilities.

    Raises:
        ValueError: when the window is not positive or larger than the image.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window must be positive, got {window}")
        self.window = window

    def __call__(self, inputs: torch.Tensor, network: PatchClassifier, *args, **kwargs) -> torch.Tensor:
        if min(inputs.shape[-2:]) < self.window:
            raise ValueError(
                f"images of {tuple(inputs.shape[-2:])} are smaller than the window of {self.window} pixels"
            )
        return network.forward_windows(inputs, self.window)

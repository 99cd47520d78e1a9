"""Average probabilities, over the flips of an image and over models (paper §3.1.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch.nn import functional as F

#: Dimensions of ``[B, C, H, W]`` that are flipped: none, horizontal, vertical, both.
_FLIPS = ((), (3,), (2,), (2, 3))


def mean_log_probabilities(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logarithm of the mean probabilities of several predictions.

    It is computed in log space: even where softmax rounds a probability to 0 or 1, the log-odds of the result still
    rank the images.

    Args:
        logits: one tensor ``[B, C]`` per prediction.

    Returns:
        float32 ``[B, C]``. They can be used as logits: their softmax is the mean of the probabilities.
    """
    logarithms = torch.stack([F.log_softmax(prediction.double(), dim=1) for prediction in logits])
    return (logarithms.logsumexp(dim=0) - math.log(len(logits))).float()


class FlipAveraging(Inferer):
    """Predict an image and its horizontal, vertical and double flip, and average the four probabilities (§3.1.3).

    In a bundle::

        "inferer": {"_target_": "monai_e2e.inferers.FlipAveraging"}

    Args:
        inferer: inferer for each flip; None for MONAI's ``SimpleInferer``.
        together: whether the four flips are one batch. By default they are computed one after the other, in the memory
            of one. One batch may be faster on a GPU; on a CPU it takes the same time.

    Shape: input ``[B, C, H, W]``; output of :func:`mean_log_probabilities`, ``[B, num_classes]``.

    Raises:
        ValueError: when a prediction is not ``[B, num_classes]``.
    """

    def __init__(self, inferer: Inferer | None = None, together: bool = False) -> None:
        super().__init__()
        self.together = together
        self.inferer = SimpleInferer() if inferer is None else inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        return mean_log_probabilities(self.of_each_flip(inputs, network, *args, **kwargs))

    def of_each_flip(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> list[torch.Tensor]:
        """The four predictions before averaging, each ``[B, num_classes]``; raises the same errors as a call."""
        if self.together:
            batch = torch.cat([torch.flip(inputs, dims) for dims in _FLIPS])
            predictions = list(self.inferer(batch, network, *args, **kwargs).split(len(inputs)))
        else:
            predictions = [self.inferer(torch.flip(inputs, dims), network, *args, **kwargs) for dims in _FLIPS]
        if any(prediction.ndim != 2 for prediction in predictions):
            raise ValueError(f"flips are averaged for logits [B, C], the network gave {list(predictions[0].shape)}")
        return predictions

"""DenseNet-121, also the example of how to add one of MONAI's networks as a backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from monai.networks.nets import DenseNet
from torch.nn import functional as F

from monai_e2e.errors import UserError
from monai_e2e.networks.backbones.base import Backbone, stage_channels


class DenseNet121(DenseNet, Backbone):
    """MONAI's DenseNet-121 up to its last feature map: a backbone that the paper did not try.

    Args:
        in_channels: channels of the input.
        width: factor on every layer's channels.

    Shape: ``[B, in_channels, H, W]`` → ``[B, 1024 * width, H / 32, W / 32]``.

    Raises:
        UserError: when ``width`` is not a positive factor.
    """

    imagenet_url = "https://download.pytorch.org/models/densenet121-a639ec97.pth"
    stride = 32
    stages = {  # noqa: RUF012 (the annotation is Backbone's)
        "stage1": ("features.conv0", "features.norm0"),
        "stage2": ("features.denseblock1",),
        "stage3": ("features.transition1", "features.denseblock2"),
        "stage4": ("features.transition2", "features.denseblock3"),
        "stage5": ("features.transition3", "features.denseblock4", "features.norm5"),
    }

    def __init__(self, in_channels: int = 3, width: float = 1.0) -> None:
        if isinstance(width, Sequence):
            raise UserError(f"the width of densenet121 is one factor, not {list(width)}")
        first, growth = stage_channels((64, 32), width)
        super().__init__(2, in_channels, out_channels=1, init_features=first, growth_rate=growth)
        del self.class_layers
        self.out_channels = int(self.features.norm5.num_features)  # type: ignore[arg-type, union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.features(x), inplace=True)

    @staticmethod
    def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        layer = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12])\.")
        return {layer.sub(r"\1.layers.\2\3.", key): value for key, value in state.items()}

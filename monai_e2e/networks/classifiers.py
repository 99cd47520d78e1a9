"""The two classifiers of the paper: of patches, and of whole images made from it (paper §2.1, §2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from monai_e2e.networks.backbones import Backbone, make_backbone
from monai_e2e.networks.top import make_top


class PatchClassifier(nn.Module):
    """Five-class classifier of lesion patches: backbone, global average pooling, one linear layer (paper §3.1.2).

    Args:
        backbone: a name of :data:`monai_e2e.networks.BACKBONES`.
        num_classes: number of output logits, in the order of :data:`monai_e2e.data.PATCH_CLASSES`.
        in_channels: channels of the input.
        width: factor on the backbone's channels; 1.0 is the paper's network.
        dropout: probability of dropping a feature before the linear layer.
        pixel_mean: mean intensity (0–255) of the training images, kept as a buffer so that it travels with the weights.

    Shape: input ``[B, in_channels, H, W]`` float32, 0–255 intensities less ``pixel_mean``; output logits
    ``[B, num_classes]``.

    Raises:
        ValueError: when ``backbone`` is unknown.
    """

    if TYPE_CHECKING:  # TorchScript can't read this annotation
        backbone: Backbone

    def __init__(
        self,
        backbone: str,
        num_classes: int = 5,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.0,
        pixel_mean: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = make_backbone(backbone, in_channels=in_channels, width=width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.out_channels, num_classes)
        self.register_buffer("pixel_mean", torch.tensor(float(pixel_mean)))
        self.stages = {**_backbone_stages(self.backbone), "head": ("head",)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.backbone(x)).flatten(1)
        return self.head(self.dropout(features))

    def forward_windows(self, x: torch.Tensor, window: int) -> torch.Tensor:
        """Logits of every patch-sized window of a whole image in one forward pass, the "heatmap" (paper §2.1).

        Args:
            x: images ``[B, in_channels, H, W]``, prepared as patches are.
            window: side of the square patches that the classifier was trained on, in pixels.

        Returns:
            Logits ``[B, num_classes, h, w]``, one position per stride of the backbone.

        Raises:
            ValueError: when ``window`` is not a multiple of the backbone's stride.
        """
        stride = self.backbone.stride
        if window < stride or window % stride:
            raise ValueError(f"the window must be a multiple of the backbone's stride {stride}, got {window}")
        pooled = nn.functional.avg_pool2d(self.backbone(x), kernel_size=window // stride, stride=1)
        weight = self.head.weight[:, :, None, None]
        return nn.functional.conv2d(pooled, weight, self.head.bias)


class WholeImageClassifier(nn.Module):
    """All-convolutional whole-image classifier made from a patch classifier (paper §2.1–2.2).

    The patch classifier's backbone becomes the bottom layers and is shared, not copied; its pooling and linear
    layer are dropped; the top blocks, global average pooling and a linear layer follow.

    Args:
        patch_net: the patch classifier.
        top_blocks: blocks in the paper's notation, such as ``["[512-512-1024]x2", "[512-512-1024]x2"]``.
        num_classes: number of output logits: negative, positive.
        dropout: probability of dropping a feature before the linear layer.
        pixel_mean: mean intensity (0–255) of the training images, kept as a buffer so that it travels with the weights.

    Shape: input ``[B, 3, H, W]`` float32, 0–255 intensities less ``pixel_mean``, of any height and width from
    about ``stride × 2^len(top_blocks)`` on; output logits ``[B, num_classes]``.

    Raises:
        ValueError: when a block is not in the paper's notation.
    """

    if TYPE_CHECKING:  # TorchScript can't read this annotation
        backbone: Backbone

    def __init__(
        self,
        patch_net: PatchClassifier,
        top_blocks: Sequence[str],
        num_classes: int = 2,
        dropout: float = 0.0,
        pixel_mean: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = patch_net.backbone
        self.top, channels = make_top(self.backbone.out_channels, top_blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.bias)
        self.register_buffer("pixel_mean", torch.tensor(float(pixel_mean)))
        top_stages = {f"top.{name}": (f"top.{name}",) for name, _ in self.top.named_children()}
        self.stages = {**_backbone_stages(self.backbone), **top_stages, "head": ("head",)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.top(self.backbone(x))).flatten(1)
        return self.head(self.dropout(features))

    def parameter_groups(self) -> list[dict]:
        """Two groups for an optimizer: what weight decay may act on, and what not.

        As in the author's networks it acts on the kernels of the added layers alone, never on biases, batch
        normalisation or the backbone. A stage's ``weight_decay`` reaches the group named ``decay``.
        """
        decay = [p for part in (self.top, self.head) for p in part.parameters() if p.ndim > 1]
        chosen = {id(p) for p in decay}
        rest = [p for p in self.parameters() if id(p) not in chosen]
        return [{"params": decay, "name": "decay"}, {"params": rest, "name": "no decay", "weight_decay": 0.0}]


def _backbone_stages(backbone: Backbone) -> dict[str, tuple[str, ...]]:
    return {
        f"backbone.{stage}": tuple(f"backbone.{module}" for module in modules)
        for stage, modules in backbone.stages.items()
    }

"""The paper's two classifiers: one of patches, and one of whole images that is made from it (paper §2.1, §2.2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import architecture, complete_preparation, encode_description, known_preparation
from monai_e2e.networks.backbones import Backbone, check_options, make_backbone
from monai_e2e.networks.distributed import unwrapped
from monai_e2e.networks.patients import register_patients
from monai_e2e.networks.top import PatchHeatmap, classify_windows, make_fully_connected, make_top, split_blocks


class PatchClassifier(nn.Module):
    """Classifier of lesion patches: backbone, global average pooling, one linear layer (paper §3.1.2).

    Args:
        backbone: a name of :data:`monai_e2e.networks.BACKBONES`.
        num_classes: number of output logits, in the order of :data:`monai_e2e.data.PATCH_CLASSES`.
        in_channels: channels of the input; None for the backbone's default.
        width: factor on the backbone's channels, 1.0 for the published network; or a number of channels per stage.
        dropout: probability of dropping a feature before the linear layer.
        pixel_mean: mean intensity (0–255) of the training images, a buffer, so it is saved with the weights.
        backbone_options: further arguments of the backbone's class.
        pool_size: side of an average pooling before the global one, as in the author's ResNet-50 (7), where it makes
            no difference for patches of 224 pixels; None for no such pooling.
        preparation: how the training images were made from mammograms, with the keys of
            :data:`monai_e2e.networks.PREPARATION`; it is saved in the buffer ``architecture``, so that later images
            are prepared in the same way.

    Shape: input ``[B, in_channels, H, W]`` float32, 0–255 intensities minus ``pixel_mean``; output logits
    ``[B, num_classes]``.

    Raises:
        UserError: when ``backbone`` or one of its options is unknown.
    """

    if TYPE_CHECKING:  # TorchScript can't read this annotation
        backbone: Backbone

    def __init__(
        self,
        backbone: str,
        num_classes: int = 5,
        in_channels: int | None = None,
        width: float | Sequence[int] = 1.0,
        dropout: float = 0.0,
        pixel_mean: float = 0.0,
        backbone_options: Mapping[str, Any] | None = None,
        pool_size: int | None = None,
        preparation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        options = dict(backbone_options or {})
        self.backbone = make_backbone(backbone, in_channels, width, **options)
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        if pool_size is not None:
            self.pool = nn.Sequential(nn.AvgPool2d(pool_size), nn.AdaptiveAvgPool2d(1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.out_channels, num_classes)
        self.register_buffer("pixel_mean", torch.tensor(float(pixel_mean)))
        self.preparation = complete_preparation(preparation)
        arguments = {
            "backbone": backbone,
            "backbone_options": options,
            "in_channels": self.backbone.image_channels if in_channels is None else in_channels,
            "width": width if isinstance(width, Sequence) else float(width),
            "pool_size": pool_size,
            "patch_classes": num_classes,
            "preparation": known_preparation(self.preparation),
        }
        self.register_buffer("architecture", encode_description(arguments))
        register_patients(self)
        self.stages = {**_backbone_stages(self.backbone), "head": ("head",)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.backbone(x)).flatten(1)
        return self.head(self.dropout(features))

    def forward_windows(self, x: torch.Tensor, window: int) -> torch.Tensor:
        """Logits of every patch-sized window of a whole image in one forward pass, the "heatmap" (paper §2.1).

        Args:
            x: images ``[B, in_channels, H, W]``, prepared like patches.
            window: side of the square patches that the classifier was trained on, in pixels.

        Returns:
            Logits ``[B, num_classes, h, w]``, one position per stride of the backbone.

        Raises:
            UserError: when ``window`` is not a multiple of the backbone's stride.
        """
        stride = self.backbone.stride
        if window < stride or window % stride:
            raise UserError(f"the window must be a multiple of the backbone's stride {stride}, got {window}")
        return classify_windows(self.backbone(x), self.head.weight, self.head.bias, window // stride)


class WholeImageClassifier(nn.Module):
    """Whole-image classifier made from a patch classifier (paper §2.1–2.2).

    The patch classifier's backbone becomes the bottom layers; it is shared, not copied. Its pooling and linear layer
    are dropped. The top blocks, global average pooling and a linear layer follow. With ``heatmap`` the patch
    classifier's linear layer is kept, and the top blocks get its heatmap (paper §3.1.2, Table 2, last three rows).

    Args:
        patch_net: the patch classifier.
        top_blocks: blocks in the paper's notation, such as ``["[512-512-1024]x2", "[512-512-1024]x2"]``; ``[]`` for
            only pooling and the linear layer. Fully connected layers, ``["FC64", "FC32"]``, come last; they fix the
            size of the images.
        num_classes: number of output logits: negative, positive.
        dropout: probability of dropping a feature before each linear layer.
        pixel_mean: mean intensity (0–255) of the training images, a buffer, so it is saved with the weights.
        heatmap: arguments of :class:`PatchHeatmap`, ``{}`` for its defaults; None for the all convolutional design.
        shortcut: whether a linear layer leads past the fully connected layers to the logits.
        norm_eps: epsilon of the batch normalisation in the top blocks; the author's is 1e-3.
        image_size: rows and columns of the images, needed only with fully connected layers.
        preparation: how the training images were made from mammograms, see :class:`PatchClassifier`.

    The buffer ``threshold`` is the operating point as log-odds of the positive class, chosen on validation images when
    the network was saved; until then 0, a probability of one half.

    Shape: input ``[B, C, H, W]`` float32, 0–255 intensities minus ``pixel_mean``, with a height and width of at least
    about ``stride × 2^len(top_blocks)``; output logits ``[B, num_classes]``.

    Raises:
        UserError: when a block is not in the paper's notation, or the arguments don't go together.
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
        heatmap: Mapping[str, Any] | None = None,
        shortcut: bool = False,
        norm_eps: float = 1e-5,
        image_size: Sequence[int] | None = None,
        preparation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        blocks, units = split_blocks(top_blocks)
        if shortcut and not units:
            raise UserError(f"a shortcut leads past fully connected layers: top_blocks {list(top_blocks)} has none")
        self.backbone = patch_net.backbone
        channels = self.backbone.out_channels
        self.heatmap: nn.Module = nn.Identity()
        if heatmap is not None:
            check_options("heatmap", PatchHeatmap, dict.fromkeys(heatmap))
            self.heatmap = PatchHeatmap(patch_net.head, **heatmap)
            channels = patch_net.head.out_features
        self.top, channels = make_top(channels, blocks, norm_eps)
        self.pool = nn.Identity() if units else nn.AdaptiveAvgPool2d(1)
        self.in_channels = architecture(patch_net)["in_channels"]
        if units and image_size is None:
            raise UserError("fully connected layers need image_size, since they fix the size of the images")
        if units and image_size is not None:
            channels = self.map_size(image_size).numel()
        self.shortcut = nn.Linear(channels, num_classes) if shortcut else None
        self.fully_connected, channels = make_fully_connected(channels, units, dropout, norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.bias)
        self.register_buffer("pixel_mean", torch.tensor(float(pixel_mean)))
        self.register_buffer("threshold", torch.tensor(0.0))
        self.preparation = complete_preparation(preparation)
        arguments = {
            **architecture(patch_net),
            "top_blocks": list(top_blocks),
            "num_classes": num_classes,
            "heatmap": None if heatmap is None else dict(heatmap),
            "shortcut": shortcut,
            "norm_eps": norm_eps,
            "image_size": list(image_size) if units and image_size else None,
            "preparation": known_preparation(self.preparation),
        }
        self.register_buffer("architecture", encode_description(arguments))
        register_patients(self)
        self.stages = self._stages()
        #: Submodules that a patch classifier's checkpoint fills → their names in that checkpoint.
        self.patch_parts = {"backbone": "backbone"} | ({} if heatmap is None else {"heatmap.classifier": "head"})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify_features(self.backbone(x))

    def classify_features(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of the backbone's feature map ``[B, C, h, w]``."""
        pooled = self.pool(self.top(self.heatmap(features))).flatten(1)
        logits = self.head(self.fully_connected(self.dropout(pooled)))
        if self.shortcut is not None:
            logits = logits + self.shortcut(pooled)
        return logits

    def parameter_groups(self) -> list[dict]:
        """Two parameter groups for an optimizer, named ``decay`` and ``no decay``.

        A stage's ``weight_decay`` applies to the group ``decay``. As in the author's networks that group has only the
        kernels of the added layers, no biases, no batch normalisation and nothing of the backbone.
        """
        backbone = {id(parameter) for parameter in self.backbone.parameters()}
        decay = [p for p in self.parameters() if p.ndim > 1 and id(p) not in backbone]
        chosen = {id(p) for p in decay}
        rest = [p for p in self.parameters() if id(p) not in chosen]
        return [{"params": decay, "name": "decay"}, {"params": rest, "name": "no decay", "weight_decay": 0.0}]

    def map_size(self, image_size: Sequence[int]) -> torch.Size:
        """Channels, rows and columns of the last feature map for images ``[rows, columns]``.

        Raises:
            UserError: when the images are too small for the layers.
        """
        # The size depends on every layer's padding: on the meta device the layers give it without computing anything.
        layers = copy.deepcopy(nn.Sequential(self.backbone, self.heatmap, self.top)).to("meta").eval()
        try:
            return layers(torch.empty(1, self.in_channels, *image_size, device="meta")).shape[1:]
        except RuntimeError as error:
            raise UserError(f"images of {list(image_size)} pixels are too small for these layers: {error}") from error

    def _stages(self) -> dict[str, tuple[str, ...]]:
        stages = _backbone_stages(self.backbone)
        if isinstance(self.heatmap, PatchHeatmap):
            stages["heatmap"] = ("heatmap",)
        stages |= {f"top.{name}": (f"top.{name}",) for name, _ in self.top.named_children()}
        stages |= {f"top.{name}": (f"fully_connected.{name}",) for name, _ in self.fully_connected.named_children()}
        stages["head"] = ("head",) if self.shortcut is None else ("head", "shortcut")
        return stages


def operating_point(network: nn.Module | None) -> float | None:
    """A network's threshold as log-odds; None if it has none, or a threshold of 0, which no validation has chosen."""
    threshold = getattr(unwrapped(network), "threshold", None)
    return float(threshold) or None if isinstance(threshold, torch.Tensor) else None


def make_classifier(
    *,
    backbone: str,
    patch_classes: int = 5,
    in_channels: int | None = None,
    width: float | Sequence[int] = 1.0,
    backbone_options: Mapping[str, Any] | None = None,
    pool_size: int | None = None,
    top_blocks: Sequence[str] | None = None,
    preparation: Mapping[str, Any] | None = None,
    **whole_image: Any,
) -> PatchClassifier | WholeImageClassifier:
    """Build the classifier that a checkpoint's architecture describes.

    Args:
        backbone: see :class:`PatchClassifier`.
        patch_classes: its ``num_classes``.
        in_channels: see there.
        width: see there.
        backbone_options: see there.
        pool_size: see there.
        top_blocks: see :class:`WholeImageClassifier`; None makes the patch classifier.
        preparation: see :class:`PatchClassifier`.
        whole_image: further arguments of :class:`WholeImageClassifier`.

    Raises:
        UserError: when a name or option is unknown, or the arguments don't go together.
        TypeError: when there are unknown arguments.
    """
    patch_net = PatchClassifier(
        backbone,
        patch_classes,
        in_channels,
        width,
        backbone_options=backbone_options,
        pool_size=pool_size,
        preparation=preparation,
    )
    if top_blocks is None:
        return patch_net
    return WholeImageClassifier(patch_net, top_blocks, preparation=preparation, **whole_image)


def _backbone_stages(backbone: Backbone) -> dict[str, tuple[str, ...]]:
    return {
        f"backbone.{stage}": tuple(f"backbone.{module}" for module in modules)
        for stage, modules in backbone.stages.items()
    }

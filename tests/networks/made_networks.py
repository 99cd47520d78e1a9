"""Small classifiers and their checkpoints, for the tests of this folder."""

from pathlib import Path

import torch
from torch import nn

from monai_e2e.networks import PatchClassifier, WholeImageClassifier


def patch_net(seed: int, width: float = 0.0625, backbone: str = "vgg16", **arguments) -> PatchClassifier:
    torch.manual_seed(seed)
    return PatchClassifier(backbone, width=width, **arguments)


def whole_net(seed: int, **arguments) -> WholeImageClassifier:
    return WholeImageClassifier(patch_net(seed), ["8x1"], **arguments)


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path

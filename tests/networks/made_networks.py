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


def randomized(network: nn.Module) -> nn.Module:
    """In evaluation mode, with normalisations that are those of no fresh network.

    Statistics of a few random images would do too, but divide by tiny deviations and so multiply rounding errors.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path

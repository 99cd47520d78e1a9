"""Activation checkpointing: activations are computed again in the backward pass, which saves memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from monai.networks.nets.densenet import _DenseLayer
from monai.networks.nets.efficientnet import MBConvBlock
from monai.networks.nets.resnet import ResNetBottleneck
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from monai_e2e.networks.top import BottleneckUnit


def checkpoint_activations(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Keep only the input of each unit of a classifier in training; compute its other activations again when needed.

    This is a third more work, for a fraction of the memory. The results are the same: unlike with PyTorch's plain
    checkpointing, the running statistics of batch normalisation are updated once.

    Args:
        network: a classifier, changed in place and returned. Its units are residual units, inverted bottlenecks,
            dense layers and, in VGG and YaroslavNet, the convolutions between two poolings.
        enabled: False returns the network unchanged, for a key in a config.
    """
    if not enabled:
        return network
    for module in network.modules():
        if isinstance(module, (ResNetBottleneck, BottleneckUnit, _DenseLayer, MBConvBlock)):
            module.forward = partial(_recomputed, module.forward, [module])  # type: ignore[method-assign]
        elif isinstance(module, nn.Sequential) and any(isinstance(layer, nn.MaxPool2d) for layer in module):
            module.forward = partial(_run, _segments(module))  # type: ignore[method-assign]
    return network


def _segments(layers: nn.Sequential) -> list[nn.Sequential]:
    """Split a chain of layers after each pooling."""
    pieces: list[list[nn.Module]] = [[]]
    for layer in layers:
        pieces[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            pieces.append([])
    return [nn.Sequential(*piece) for piece in pieces if piece]


def _run(segments: list[nn.Sequential], x: torch.Tensor) -> torch.Tensor:
    for segment in segments:
        x = _recomputed(segment.forward, list(segment), x)
    return x


def _recomputed(forward: Callable[[torch.Tensor], torch.Tensor], modules: list[nn.Module], x: torch.Tensor):
    norms = [norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)]
    trained = x.requires_grad or any(p.requires_grad for module in modules for p in module.parameters())
    if not (torch.is_grad_enabled() and trained):
        return forward(x)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _statistics_kept(norms)

    return checkpoint(forward, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_kept(norms: list[_BatchNorm]) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are during the second forward pass."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, counter in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if counter is None else counter.clone()
    try:
        yield
    finally:
        for norm, momentum, counter in kept:
            norm.momentum, norm.num_batches_tracked = momentum, counter

"""Training with several processes: their ranks, networks without PyTorch's wrappers, shared batch normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_e2e.errors import UserError


def rank() -> int:
    """This process's rank, 0 without distributed training.

    Not Ignite's: its first call is collective, so a rank that skips it blocks the others.
    """
    return torch.distributed.get_rank() if _distributed() else 0


def world_size() -> int:
    """Number of processes, 1 without distributed training; not Ignite's, as in :func:`rank`."""
    return torch.distributed.get_world_size() if _distributed() else 1


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def unwrapped(network: Any) -> Any:
    """A network without DistributedDataParallel and ``torch.compile`` around it; anything else as it is.

    Its state dict has the network's own keys, and it can be run on one rank alone, where the wrapped one would wait for
    the others.
    """
    if isinstance(network, DistributedDataParallel):
        network = network.module
    return getattr(network, "_orig_mod", network)


def synchronize_batchnorm(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Compute the statistics of batch normalisation over the batches of all processes.

    Args:
        network: network on its device; changed in place and returned. The names and values of its state stay the same.
        enabled: False returns the network unchanged, for a key in a config.

    Raises:
        UserError: when the network is on a CPU, for which PyTorch has no such layer.
    """
    if not enabled:
        return network
    if (device := next(network.parameters()).device.type) == "cpu":
        raise UserError(
            f"sync_batchnorm: PyTorch shares batch normalisation between GPUs only, and this network is on '{device}': "
            "leave it out (--sync_batchnorm false), or train on GPUs"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)

"""Training by several processes: batch normalisation over the batches of all of them."""

from __future__ import annotations

from torch import nn

from monai_e2e.errors import UserError


def synchronize_batchnorm(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Have batch normalisation take its statistics from the batches of all processes.

    Args:
        network: on its device; changed in place and returned. Names and values of its state stay the same.
        enabled: False returns the network as it is, for a key in a config.

    Raises:
        UserError: when the network is on a processor, where PyTorch has no such layer.
    """
    if not enabled:
        return network
    if (device := next(network.parameters()).device.type) == "cpu":
        raise UserError(
            f"sync_batchnorm: PyTorch shares batch normalisation between GPUs only, and this network is on '{device}': "
            "leave it out (--sync_batchnorm false), or train on GPUs"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)

"""What the sites of a federation share of their networks: what was learned, not what describes data or architecture.

The buffers ``architecture``, ``patients``, ``pixel_mean`` and ``threshold`` travel with a network's weights in its
state dict, so that a checkpoint says by itself how it is to be used. In a federation the state dict is what a server
averages: there they stay out of it, and each site keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from monai_e2e.networks.architecture import DESCRIPTIONS

Network = TypeVar("Network", bound=nn.Module)

#: Buffers of a classifier that no server averages.
UNSHARED = (*DESCRIPTIONS, "pixel_mean", "threshold")


def share_what_is_learned(network: Network, federated: bool = True) -> Network:
    """Let a network's state dict have the weights and batch normalisation's statistics alone.

    A state dict that is loaded then needs no more either; what it says of :data:`UNSHARED` is taken.

    Args:
        network: a classifier, changed in place and returned.
        federated: whether to; else it is returned as it is.
    """
    if federated:
        network.register_state_dict_post_hook(_drop_unshared)
        network.register_load_state_dict_pre_hook(_keep_own)
    return network


def model_file(network: nn.Module) -> dict[str, Any]:
    """What is saved of a network: its state dict, with :data:`UNSHARED` in it.

    Of a network of a federation the state dict is the value of ``"model"``, which MONAI's client sends if it is asked
    for a site's best or final model; ``patients`` stand beside it and stay.
    """
    shared = network.state_dict()
    own = {name: buffer for name, buffer in network.named_buffers(recurse=False) if name in UNSHARED}
    if own.keys() <= shared.keys():
        return shared
    patients = {name: own.pop(name) for name in ("patients",) if name in own}
    return {"model": {**shared, **own}, **patients}


def _drop_unshared(_network: nn.Module, state: dict[str, torch.Tensor], prefix: str, _metadata: Mapping) -> None:
    for name in UNSHARED:
        state.pop(f"{prefix}{name}", None)


def _keep_own(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    for name, buffer in network.named_buffers(recurse=False):
        if name in UNSHARED:
            state.setdefault(f"{prefix}{name}", buffer)

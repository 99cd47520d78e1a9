"""What the sites of a federation share of their networks: weights and statistics, no descriptions of data or network.

A network's state dict has the buffers ``architecture``, ``patients``, ``pixel_mean`` and ``threshold``, so that a
checkpoint is complete. In a federation a server averages state dicts, so these buffers are left out there, and each
site keeps its own.
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
    """Leave the buffers of :data:`UNSHARED` out of a network's state dict, which a federation sends.

    A state dict that is loaded may lack them too; if it has them, they are loaded. Tensors that are kept channels last
    are contiguous in the state dict: NVFlare's transport takes no others.

    Args:
        network: a classifier, changed in place and returned.
        federated: False returns the network unchanged, for a key in a config.
    """
    if federated:
        network.register_state_dict_post_hook(_drop_unshared)
        network.register_load_state_dict_pre_hook(_keep_own)
    return network


def model_file(network: nn.Module) -> dict[str, Any]:
    """The content of a network's file: its state dict with the buffers of :data:`UNSHARED`.

    For a network in a federation the state dict is under ``"model"``, which MONAI's client sends when it is asked for a
    site's best or final model. ``patients`` is beside it, so it stays at the site.
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
    for key, value in state.items():
        state[key] = value.contiguous()


def _keep_own(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    for name, buffer in network.named_buffers(recurse=False):
        if name in UNSHARED:
            state.setdefault(f"{prefix}{name}", buffer)

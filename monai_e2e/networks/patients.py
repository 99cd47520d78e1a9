"""The patients that a network was trained on, recorded in its buffer ``patients``, see :mod:`monai_e2e.seen`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from monai_e2e.networks.architecture import decode_description, encode_description


def recorded_patients(network: nn.Module) -> dict[str, Any]:
    """The patients that a network was trained on, see :func:`monai_e2e.seen.describe_patients`; empty if not known."""
    buffer = getattr(network, "patients", None)
    return {} if buffer is None else decode_description(buffer, "patients")


def register_patients(network: nn.Module) -> None:
    """Give a network the buffer ``patients``, which is None until it is trained or loads a state that has one."""
    network.register_buffer("patients", None)
    network.register_load_state_dict_pre_hook(_fit_patients)


def _fit_patients(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """Let a state be loaded whose buffer has another length, or that has none, as in earlier versions."""
    key, own = f"{prefix}patients", network.patients
    if key in state:
        network.register_buffer("patients", torch.empty_like(state[key]))
    elif isinstance(own, torch.Tensor):
        state[key] = own


def record_patients(network: nn.Module, patients: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Record the patients that a network is trained on, and those that its starting checkpoint was trained on.

    Args:
        network: its buffer ``patients`` is replaced.
        patients: as :func:`monai_e2e.seen.describe_patients` returns them.
        before: those of the checkpoint, or empty.
    """
    both = {name: sorted({*patients.get(name, ()), *before.get(name, ())}) for name in ("training", "validation")}
    own = {name: patients.get(name) for name in ("fold", "seed")}
    network.register_buffer("patients", encode_description({**own, **both}))

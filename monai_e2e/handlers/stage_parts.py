"""Which parts of a network a training stage trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Names of a network's parts → names of their modules.
Groups = Mapping[str, Sequence[str]]
#: Part name that means all batch-normalisation layers of the network.
BATCHNORM = "batchnorm"


def trained_modules(stage: Mapping[str, Any], groups: Groups) -> list[str]:
    """Names of the modules that a stage trains.

    Raises:
        UserError: when a pattern of the stage matches no part.
    """
    modules: list[str] = []
    for pattern in stage["trainable"]:
        names = [name for name in groups if fnmatchcase(name, pattern)]
        if not names:
            raise UserError(
                f"pattern '{pattern}' of stage '{stage['name']}' matches no part of the network; "
                f"choose from its parts: {', '.join(groups)}"
            )
        modules += [module for name in names for module in groups[name]]
    return modules


def train_alone(network: nn.Module, modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Make only the modules' parameters trainable; returns the batch-normalisation layers outside the modules."""
    chosen = {id(parameter) for module in modules for parameter in module.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
        parameter.grad = None  # else Adam would keep moving a frozen layer by its last gradient
    trained = {id(part) for module in modules for part in module.modules()}
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and id(module) not in trained]


def warn_of_never_trained(stages: Sequence[Mapping[str, Any]], groups: Groups, network: nn.Module) -> None:
    """Log the parts, and the parameters outside all parts, that no stage trains."""
    names = [name for stage in stages for name in trained_modules(stage, groups)]
    trained = {id(p) for name in names for p in network.get_submodule(name).parameters()}
    never = [name for name, p in network.named_parameters() if id(p) not in trained]
    parts = [(f"{module}.", part) for part, modules in groups.items() for module in modules]
    if never:
        found = dict.fromkeys(next((part for start, part in parts if n.startswith(start)), n) for n in never)
        norms = any(BATCHNORM in stage["trainable"] for stage in stages)
        but = " (only their batch normalisation)" if norms else ""
        logger.warning("No training stage trains these parts%s: %s.", but, ", ".join(found))

"""The optimizer of a recipe, made by its name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from monai_e2e.errors import UserError

#: Optimizers with a learning rate and a weight decay for each parameter group, which the training stages set.
OPTIMIZERS = ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")


def make_optimizer(name: str, params: Iterable[Any], **options: Any) -> Optimizer:
    """One of ``torch.optim``'s optimizers.

    Args:
        name: one of :data:`OPTIMIZERS`. The paper uses Adam; its weight decay is added to the gradient, as in the
            author's networks. That of AdamW is decoupled (Loshchilov & Hutter 2019).
        params: parameters or parameter groups.
        options: further arguments of the optimizer, such as ``momentum``; the training stages set learning rate and
            weight decay.

    Raises:
        UserError: when the name is unknown or the optimizer has no such option.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer '{name}', choose one of: {', '.join(OPTIMIZERS)}")
    try:
        return getattr(torch.optim, name)(params, **options)
    except TypeError as error:
        raise UserError(f"the optimizer {name} does not take these options: {error}") from error

"""The optimizer of a recipe, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from monai_e2e.errors import UserError

#: Those that take a learning rate and a weight decay for each group of parameters, as a training plan sets them.
OPTIMIZERS = ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")


def make_optimizer(name: str, params: Iterable[Any], **options: Any) -> Optimizer:
    """One of ``torch.optim``'s optimizers.

    Args:
        name: one of :data:`OPTIMIZERS`; the paper's is Adam, whose weight decay adds to the gradient, as the author's
            did; AdamW's shrinks the weights by itself (Loshchilov & Hutter 2019).
        params: parameters or groups of them.
        options: further arguments of the optimizer, such as ``momentum``; learning rate and weight decay are set by
            the stages of a training.

    Raises:
        UserError: when the name is unknown or the optimizer lacks an option.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer '{name}', choose one of: {', '.join(OPTIMIZERS)}")
    try:
        return getattr(torch.optim, name)(params, **options)
    except TypeError as error:
        raise UserError(f"the optimizer {name} does not take these options: {error}") from error

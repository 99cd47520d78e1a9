"""Exponential moving average of a network's weights."""

from __future__ import annotations

from ignite.handlers import EMAHandler
from torch import nn

from monai_e2e.errors import UserError


def average_weights(network: nn.Module, momentum: float | None, federated: bool = False) -> EMAHandler | None:
    """Ignite's handler for an exponential moving average of a network's weights, for a trainer's ``train_handlers``.

    The average is validated and saved in place of the network: with few images, the scores of the weights after a
    single batch jump from epoch to epoch. Buffers, such as the statistics of batch normalisation, are copied and not
    averaged. With momentum m the average covers about the last 1/m batches.

    Args:
        network: the network that is trained.
        momentum: share of the newest weights in the average, such as 0.005; None for no average.
        federated: whether the training is a round of a federation, whose server averages.

    Returns:
        The handler, whose ``ema_model`` is the average; None without a momentum.

    Raises:
        UserError: when the momentum is out of range, or the training is federated.
    """
    if momentum is None:
        return None
    if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 < momentum < 1:
        raise UserError(
            f"ema_momentum must be between 0 and 1, such as 0.005 (the average of about the last 200 batches), or "
            f"null for none, got {momentum!r}"
        )
    if federated:
        raise UserError("ema_momentum can't be used in a federation, whose server averages the weights: leave it null")
    return EMAHandler(network, momentum)

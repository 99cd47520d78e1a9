"""Averages of a network's weights over its training."""

from __future__ import annotations

from ignite.handlers import EMAHandler
from torch import nn

from monai_e2e.errors import UserError


def average_weights(network: nn.Module, momentum: float | None, federated: bool = False) -> EMAHandler | None:
    """Ignite's handler that keeps an exponential average of a network's weights, for a trainer's ``train_handlers``.

    The average is validated and saved in place of the network as it happens to be after its last batch, whose scores
    jump from epoch to epoch where images are few. Buffers, the statistics of batch normalisation among them, are
    the network's own. With momentum m it looks back over about 1/m batches.

    Args:
        network: the network that is trained.
        momentum: share of the newest weights in the average, such as 0.005; None: no average.
        federated: whether the training is a round of a federation, which averages by itself.

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
        raise UserError("ema_momentum is for trainings at one place: a federation averages by itself, so leave it null")
    return EMAHandler(network, momentum)

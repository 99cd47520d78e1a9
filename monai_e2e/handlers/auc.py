"""The AUC with its interval each epoch, and the operating point that a validation chooses."""

from __future__ import annotations

import logging
import math

import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_e2e.errors import UserError
from monai_e2e.handlers.scores import EpochScores, logit_of_positive
from monai_e2e.metrics import choose_threshold, roc_auc
from monai_e2e.networks.distributed import rank, unwrapped

logger = logging.getLogger(__name__)

#: Stands for a threshold of 0, which in a checkpoint means that none was chosen: the same scores reach it.
_BELOW_0 = -torch.finfo(torch.float32).tiny


class AucInterval:
    """Compute an evaluator's AUC with DeLong's 95 % interval, and set the network's threshold.

    After each epoch ``engine.state.metrics`` has ``val_auc``, ``val_auc_low`` and ``val_auc_high``. The buffer
    ``threshold`` has the log-odds with the largest Youden index, so a model that is saved then carries an operating
    point chosen on validation data. With labels of one class, or scores that are not finite, a warning is logged, the
    AUC is NaN and the threshold is unchanged.

    Use it as a handler, listed before those that log metrics or save the network; or as one of the evaluator's metrics,
    which MONAI computes before it runs handlers. The metric's key then replaces ``val_auc`` in the names.

    Expects outputs with ``pred`` (logits ``[B, 2]``) and ``label`` (``[B]``, 0 or 1), not decollated. In a distributed
    run list it on all ranks: the images of all ranks are scored together.

    Args:
        network: network whose buffer ``threshold`` is set; None sets none.

    Raises:
        UserError: when the network has no buffer ``threshold``.
    """

    def __init__(self, network: nn.Module | None = None) -> None:
        self.network: nn.Module | None = unwrapped(network)
        if self.network is not None and not isinstance(getattr(self.network, "threshold", None), torch.Tensor):
            raise UserError(
                f"{type(self.network).__name__} has no buffer 'threshold' to set: leave out network, or give it one"
            )

    def attach(self, engine: Engine, name: str = "val_auc") -> None:
        """Attach to the evaluator; the names of the metrics begin with ``name``."""
        self.name = name
        self._scores = EpochScores()
        self._scores.attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget_interval)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._complete)

    def _forget_interval(self, engine: Engine) -> None:
        """Else an epoch without AUC, or a handler listed too early, would log the interval of the epoch before."""
        for end in ("low", "high"):
            engine.state.metrics.pop(f"{self.name}_{end}", None)

    def _complete(self, engine: Engine) -> None:
        all_logits, all_labels = self._scores.gathered()
        log_odds, labels = logit_of_positive(all_logits).tolist(), all_labels.tolist()
        metrics = engine.state.metrics
        try:
            auc, low, high = roc_auc(labels, log_odds)
            threshold = choose_threshold(labels, log_odds)
        except UserError as error:  # a validation without AUC is no reason to end a training
            if rank() == 0:
                logger.warning("No AUC of epoch %d: %s", engine.state.epoch, error)
            metrics[self.name] = math.nan
            return
        metrics |= {self.name: auc, f"{self.name}_low": low, f"{self.name}_high": high}
        if self.network is not None:
            self.network.get_buffer("threshold").fill_(threshold or _BELOW_0)

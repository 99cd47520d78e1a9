"""Saving a trained network: the best epoch's, and the last one's."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from monai_e2e.checkpoints.files import as_plain, save_atomically
from monai_e2e.federated import model_file
from monai_e2e.handlers.checkpoints import best_of
from monai_e2e.networks.distributed import rank, unwrapped

logger = logging.getLogger(__name__)


class _SavedModel:
    """A network's file of plain tensors, complete or absent. In a distributed run list it on all ranks; rank 0 writes.

    Args:
        save_dir: folder of the file.
        network: the network to save.

    Raises:
        UserError: when the file can't be written.
    """

    _filename: str

    def __init__(self, save_dir: str | Path, network: nn.Module) -> None:
        self.path = Path(save_dir) / self._filename
        self.network = unwrapped(network)

    def write(self) -> None:
        if rank() == 0:
            save_atomically(as_plain(model_file(self.network), self.path.name), self.path)


class BestModel(_SavedModel):
    """Ignite handler of an evaluator that saves the network whenever the key metric has a new best value.

    The evaluator decides what is best (MONAI's ``metric_cmp_fn``, by default: strictly higher), so a resumed run
    continues from its earlier best. NaN and infinity, which would stay the best forever, are never taken.
    """

    _filename = "model.pt"

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._note_best)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        state = engine.state
        if state.best_metric_epoch != state.epoch:
            return
        if not math.isfinite(state.best_metric):
            logger.warning("%s of epoch %d is %s: not saved.", state.key_metric_name, state.epoch, state.best_metric)
            vars(state).update(self._best)
        else:
            self.write()

    def _note_best(self, engine: Engine) -> None:
        self._best = best_of(engine)


class FinalModel(_SavedModel):
    """Ignite handler of a trainer that saves the network at the end of a training, or of a federated round."""

    _filename = "model_final.pt"

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, _engine: Engine) -> None:
        self.write()

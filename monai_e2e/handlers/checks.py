"""Watching over a training while it runs: how long it will take, and whether its loss is still a number."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents

from monai_e2e.bundle import user_error
from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

#: Images that the message names at most.
_NAMED = 16
#: Epochs whose mean time foretells the rest: stages differ in speed, and the first epoch fills the caches.
_EPOCHS_OF_ETA = 3


class EndOnMistake:
    """End a run by a user's mistake, or by what they can mend, as the exception that it is.

    Name it first in the list, of a validator too: MONAI's ``StatsHandler`` would put a traceback before the message.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)
        engine.add_event_handler(Events.STARTED, self._end_otherwise)

    def __call__(self, _engine: Engine, error: BaseException) -> None:
        if mistake := user_error(error):
            raise mistake

    def _end_otherwise(self, engine: Engine) -> None:
        # Ignite takes an exception for dealt with once it has a handler for it; this one comes after all others.
        if not engine.has_event_handler(_raise, Events.EXCEPTION_RAISED):
            engine.add_event_handler(Events.EXCEPTION_RAISED, _raise)


class StopOnBadLoss:
    """End the run with one line when the loss is NaN or infinite, naming the images of that batch.

    It looks between forward and backward pass, so that weights and optimizer stay as they were; where a trainer's own
    iteration doesn't fire MONAI's ``LOSS_COMPLETED``, after the iteration. Of mixed precision it sees the loss itself:
    that a gradient scaler skips a step now and then is normal and stops nothing.

    Expects ``engine.state.output["loss"]`` (and ``"pred"``, to tell which images are to blame), and lists of names in
    ``engine.state.batch``. It is an :class:`EndOnMistake` too, so name it first in the list.

    Args:
        id_keys: keys of the batch, the first that it has names the images; a path gives its last two parts.

    Raises:
        UserError: while training, at such a loss.
    """

    def __init__(self, id_keys: Sequence[str] = ("image_id", "image_path", "patient_id")) -> None:
        self.id_keys = tuple(id_keys)
        self._looked_at = 0

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        EndOnMistake().attach(engine)

    def __call__(self, engine: Engine) -> None:
        if self._looked_at == engine.state.iteration:
            return
        self._looked_at = engine.state.iteration
        loss = engine.state.output["loss"].detach()
        if torch.isfinite(loss).all():
            return
        names = self._names(engine.state.batch)
        bad = self._to_blame(engine.state.output.get("pred"), len(names))
        blamed = [name for name, is_bad in zip(names, bad, strict=True) if is_bad]
        listed = ", ".join(blamed[:_NAMED]) + (f" and {len(blamed) - _NAMED} more" if len(blamed) > _NAMED else "")
        raise UserError(
            f"the loss is {loss.float().mean().item()} in epoch {engine.state.epoch}, iteration "
            f"{engine.state.iteration}, on {listed or 'a batch without names'}: look at these images, lower the "
            f"learning rate, or train without mixed precision (amp false)"
        )

    def _names(self, batch: object) -> list[str]:
        for key in self.id_keys:
            if isinstance(batch, Mapping) and key in batch:
                names = [str(name) for name in batch[key]]
                return ["/".join(Path(name).parts[-2:]) for name in names] if key.endswith("path") else names
        return []

    @staticmethod
    def _to_blame(logits: torch.Tensor | None, count: int) -> list[bool]:
        """The images whose logits are not finite, where some are and some are not; else all."""
        if isinstance(logits, torch.Tensor) and logits.ndim > 1 and len(logits) == count:
            finite = torch.isfinite(logits.detach()).flatten(1).all(dim=1).tolist()
            if any(finite) and not all(finite):
                return [not row for row in finite]
        return [True] * count


class Progress:
    """A bar on a terminal, and after each epoch of a training one line with the time that is left.

    Without a terminal, in a log file, there is the line alone. Name it first in the list, so that the bar is gone
    before others write, and in the validator's handlers too for a bar there.

    Args:
        name: what stands before the bar; by default "Epoch".
    """

    def __init__(self, name: str = "Epoch") -> None:
        self.name = name
        self._seconds: deque[float] = deque(maxlen=_EPOCHS_OF_ETA)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator."""
        if idist.get_rank() > 0:
            return
        if sys.stderr.isatty():
            ProgressBar(desc=self.name).attach(engine)
        if not isinstance(engine, Evaluator):
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def _start(self, engine: Engine) -> None:
        self._seconds.clear()
        # Only now, so that it comes after all others' work at the end of an epoch, such as the validation.
        if not engine.has_event_handler(self._end_epoch, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def _start_epoch(self, _engine: Engine) -> None:
        self._began = time.monotonic()

    def _end_epoch(self, engine: Engine) -> None:
        self._seconds.append(time.monotonic() - self._began)
        epoch, last = engine.state.epoch, engine.state.max_epochs
        left = (last - epoch) * sum(self._seconds) / len(self._seconds)
        rest = f", about {_duration(left)} left" if epoch < last and not engine.should_terminate else ""
        logger.info("Epoch %d of %d took %.1f s%s.", epoch, last, self._seconds[-1], rest)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _raise(_engine: Engine, error: BaseException) -> None:
    raise error

"""Checks of a running training: whether the loss is finite, how long it will take, and how its errors are shown."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents

from monai_e2e.bundle import user_error
from monai_e2e.errors import UserError, some
from monai_e2e.networks.distributed import rank

logger = logging.getLogger(__name__)

#: Keys of a batch that may name its images; the first one present is used.
_ID_KEYS = ("image_id", "image_path", "patient_id")
#: Number of recent epochs that the time left is estimated from: stages differ in speed, and the first fills the caches.
_EPOCHS_OF_ETA = 3


class EndOnMistake:
    """End a run with a plain :class:`~monai_e2e.errors.UserError` when the user made a mistake or can fix the cause.

    List it first, in a validator's handlers too: MONAI's ``StatsHandler`` would log a traceback before the message.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)
        engine.add_event_handler(Events.STARTED, self._end_otherwise)

    def __call__(self, _engine: Engine, error: BaseException) -> None:
        if mistake := user_error(error):
            raise mistake

    def _end_otherwise(self, engine: Engine) -> None:
        # Ignite swallows an exception once there is a handler for it, so this one, after all others, raises it again.
        if not engine.has_event_handler(_raise, Events.EXCEPTION_RAISED):
            engine.add_event_handler(Events.EXCEPTION_RAISED, _raise)


class StopOnBadLoss:
    """End the run when the loss is NaN or infinite, with one line that names the images of that batch.

    It checks between forward and backward pass, so weights and optimizer are still good. If the trainer's iteration
    doesn't fire MONAI's ``LOSS_COMPLETED``, it checks after the iteration. With mixed precision it checks the unscaled
    loss: a gradient scaler that skips a step now and then is normal and doesn't end the run.

    Expects ``engine.state.output["loss"]`` (and ``"pred"``, to tell which images caused it), and lists of names in
    ``engine.state.batch`` under ``image_id``, ``image_path`` or ``patient_id``. It includes :class:`EndOnMistake`, so
    list it first.

    Raises:
        UserError: during training, when the loss is not finite.
    """

    def __init__(self) -> None:
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
        names = _names(engine.state.batch)
        bad = self._to_blame(engine.state.output.get("pred"), len(names))
        blamed = [name for name, is_bad in zip(names, bad, strict=True) if is_bad]
        raise UserError(
            f"the loss is {loss.float().mean().item()} in epoch {engine.state.epoch}, iteration "
            f"{engine.state.iteration}, on {some(blamed, 16) or 'a batch without names'}: look at these images, lower "
            f"the learning rate, or train without mixed precision (amp false)"
        )

    @staticmethod
    def _to_blame(logits: torch.Tensor | None, count: int) -> list[bool]:
        """Whether each image's logits are not finite; all true if that doesn't tell the images apart."""
        if isinstance(logits, torch.Tensor) and logits.ndim > 1 and len(logits) == count:
            finite = torch.isfinite(logits.detach()).flatten(1).all(dim=1).tolist()
            if any(finite) and not all(finite):
                return [not row for row in finite]
        return [True] * count


class Progress:
    """Show a progress bar on a terminal, and log one line with the remaining time after each epoch of a training.

    Without a terminal, as in a log file, there is only the line. List it first, so that the bar is gone before others
    write; list it in a validator's handlers too for a bar there.

    Args:
        name: text before the bar.
    """

    def __init__(self, name: str = "Epoch") -> None:
        self.name = name
        self._seconds: deque[float] = deque(maxlen=_EPOCHS_OF_ETA)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator."""
        if rank() > 0:
            return
        if sys.stderr.isatty():
            ProgressBar(desc=self.name).attach(engine)
        if not isinstance(engine, Evaluator):
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def _start(self, engine: Engine) -> None:
        self._seconds.clear()
        # Attached only now, so that it comes after all other work at the end of an epoch, such as the validation.
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


def _names(batch: object) -> list[str]:
    """The names of a batch's images, of a path the last two parts."""
    for key in _ID_KEYS:
        if isinstance(batch, Mapping) and key in batch:
            names = [str(name) for name in batch[key]]
            return ["/".join(Path(name).parts[-2:]) for name in names] if key.endswith("path") else names
    return []


def _duration(seconds: float) -> str:
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _raise(_engine: Engine, error: BaseException) -> None:
    raise error

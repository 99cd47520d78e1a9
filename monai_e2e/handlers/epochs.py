"""Reports of an epoch: one line in the log, and grouped scalars for TensorBoard."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from ignite.engine import Engine
from monai.utils import is_scalar
from torch.utils.tensorboard.writer import SummaryWriter

logger = logging.getLogger(__name__)


def short_name(metric: str) -> str:
    """The name of a metric without its prefix ``train_`` or ``val_``, which the group of a scalar says already."""
    return re.sub(r"^(train|val)_", "", metric)


def print_epoch(phase: str, best: bool = False) -> Callable[[Engine], None]:
    """An ``epoch_print_logger`` for MONAI's ``StatsHandler``: an epoch's metrics in one line.

    If there are metrics ``<name>_low`` and ``<name>_high``, they follow their metric as its interval.

    Args:
        phase: what the engine does, such as ``"training"``.
        best: whether to add the best value of the key metric, if it comes from an earlier epoch.
    """

    def write(engine: Engine) -> None:
        state, metrics = engine.state, {short_name(name): value for name, value in engine.state.metrics.items()}
        texts = []
        for name, value in metrics.items():
            if is_scalar(value) and not name.endswith(("_low", "_high")):
                low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
                interval = "" if low is None or high is None else f" (95 % {low:.2f}–{high:.2f})"
                texts.append(f"{_written(name)} {float(value):.3f}{interval}")
        if best and 0 < state.best_metric_epoch < state.epoch:
            name = _written(short_name(state.key_metric_name))
            texts.append(f"best {name} {state.best_metric:.3f} at epoch {state.best_metric_epoch}")
        logger.info("Epoch %d, %s: %s", state.epoch, phase, ", ".join(texts))

    return write


def write_epoch(group: str, state_attributes: Sequence[str] = ()) -> Callable[[Engine, SummaryWriter], None]:
    """An ``epoch_event_writer`` for MONAI's ``TensorBoardStatsHandler``: an epoch's metrics as ``<group>/<name>``.

    Args:
        group: such as ``"train"``.
        state_attributes: attributes of the engine's state to write as well.
    """

    def write(engine: Engine, writer: SummaryWriter) -> None:
        values: dict[str, Any] = {short_name(name): value for name, value in engine.state.metrics.items()}
        values |= {name: getattr(engine.state, name, None) for name in state_attributes}
        for name, value in values.items():
            if is_scalar(value):
                writer.add_scalar(f"{group}/{name}", value, engine.state.epoch)
        writer.flush()

    return write


def _written(name: str) -> str:
    return "AUC" if name == "auc" else name

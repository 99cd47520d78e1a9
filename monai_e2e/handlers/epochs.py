"""What is told of an epoch: one line in the log, and its scalars for TensorBoard in groups."""

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
    """The name of a metric without what says whether it is of training or of validation, as its group does."""
    return re.sub(r"^(train|val)_", "", metric)


def print_epoch(phase: str, best: bool = False) -> Callable[[Engine], None]:
    """For MONAI's ``StatsHandler``, as its ``epoch_print_logger``: an epoch's metrics in one line.

    An interval whose ends are the metrics ``<name>_low`` and ``<name>_high`` stands behind its metric.

    Args:
        phase: what the engine does, such as ``"training"``.
        best: whether to tell the best value so far of the key metric where it is an earlier one.
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
    """For MONAI's ``TensorBoardStatsHandler``, as its ``epoch_event_writer``: an epoch's metrics as ``<group>/<name>``.

    Args:
        group: such as ``"train"``.
        state_attributes: what is written of the engine's state besides.
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

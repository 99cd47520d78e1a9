"""A plan of training stages: checks of its keys, learning rates over time, and a run's position in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from monai_e2e.errors import UserError

_REQUIRED_KEYS = {"name": str, "trainable": list, "lr": float, "epochs": int}
_OPTIONAL_KEYS = {
    "weight_decay": float,
    "dropout": float,
    "reset_optimizer": bool,
    "patience": int,
    "schedule": str,
    "warmup": float,
}
_STAGE_KEYS = {**_REQUIRED_KEYS, **_OPTIONAL_KEYS}
_DEFAULTS = {
    "weight_decay": 0.0,
    "dropout": None,
    "reset_optimizer": True,
    "patience": None,
    "schedule": "constant",
    "warmup": 0.0,
}
_SCHEDULES = ("constant", "cosine")


@dataclass
class PlanPosition:
    """A run's position in its plan, in plain numbers that a checkpoint can hold without pickled objects."""

    best: float  # best score of all stages
    stage_best: float  # best score of this stage
    stage: int = -1  # index in the plan, -1 before the first epoch
    first_epoch: int = 1  # of the stage
    lr: float = 0.0  # the plan's, when the stage began
    epoch: int = 0  # last completed epoch
    validated: int = 0  # last epoch with a score
    best_epoch: int = 0
    stage_best_epoch: int = 0

    @classmethod
    def before(cls, epoch: int, worst: float) -> PlanPosition:
        """The position before a plan whose first epoch has that number; any score improves on ``worst``."""
        last = epoch - 1
        return cls(worst, worst, -1, epoch, epoch=last, validated=last, best_epoch=last, stage_best_epoch=last)


def rate_factor(stage: Mapping, begin: float, end: float) -> float:
    """Factor on the stage's learning rate for one iteration, from ``begin`` to ``end`` in epochs of the stage."""
    warmup, epochs = stage["warmup"], stage["epochs"]
    if begin < warmup:
        return min(end / warmup, 1.0)
    if stage["schedule"] == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (begin - warmup) / (epochs - warmup)))


def fit_plan(stages: Sequence[Mapping[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """The same plan in another number of epochs.

    Each stage keeps its share of the epochs, rounded to whole ones, and its warm-up keeps its share of the stage. A
    stage without an epoch is left out; the last stage always has at least one.

    Args:
        stages: as :func:`check_stage` returns them.
        epochs: total number of epochs, 1 or more.
    """
    share = epochs / sum(stage["epochs"] for stage in stages)
    ends = [min(round(end * share), epochs - 1) for end in accumulate(stage["epochs"] for stage in stages)]
    ends[-1] = epochs
    return [
        {**stage, "epochs": end - begin, "warmup": stage["warmup"] * (end - begin) / stage["epochs"]}
        for stage, begin, end in zip(stages, [0, *ends], ends, strict=False)
        if end > begin
    ]


def train_only(stages: Sequence[Mapping[str, Any]], trainable: str | None) -> list[dict[str, Any]]:
    """The same plan, with all stages training the parts that ``trainable`` names.

    Args:
        stages: see :class:`~monai_e2e.handlers.StagedTraining`.
        trainable: patterns joined by ``+``, such as ``"batchnorm+head"``; None keeps each stage's own.

    Raises:
        UserError: when a pattern is empty.
    """
    if trainable is None:
        return [dict(stage) for stage in stages]
    parts = [part.strip() for part in str(trainable).split("+")]
    if not all(parts):
        raise UserError(f"trainable {trainable!r}: join the network's parts by +, such as batchnorm+head")
    return [{**stage, "name": " and ".join(parts), "trainable": parts} for stage in stages]


def check_stages(stages: Sequence[Mapping]) -> list[dict[str, Any]]:
    """Check the stages of a plan, see :func:`check_stage`; raises :class:`UserError` also if they are no list."""
    if isinstance(stages, str | Mapping):
        raise UserError(f"stages must be a list of dicts with {', '.join(_STAGE_KEYS)}, got {stages!r}")
    return [check_stage(stage, index) for index, stage in enumerate(stages, start=1)]


def check_stage(stage: Mapping, index: int) -> dict[str, Any]:
    """Check a stage and fill in the defaults of the keys that it leaves out.

    Args:
        stage: see :class:`~monai_e2e.handlers.StagedTraining`.
        index: its number in the plan, for messages.

    Raises:
        UserError: when a key is unknown, missing, of the wrong type or out of range.
    """
    if not isinstance(stage, Mapping):
        raise UserError(f"training stage {index} must be a dict with {', '.join(_STAGE_KEYS)}, got {stage!r}")
    where = f"training stage {index} ('{stage.get('name', 'unnamed')}')"
    if unknown := set(stage) - set(_STAGE_KEYS):
        raise UserError(f"{where} has unknown keys {sorted(unknown)}; allowed are: {', '.join(_STAGE_KEYS)}")
    if missing := set(_REQUIRED_KEYS) - set(stage):
        raise UserError(f"{where} lacks {sorted(missing)}")
    checked = {**_DEFAULTS, **stage}
    for key, kind in _STAGE_KEYS.items():
        value = checked[key]
        if value is None and key in _DEFAULTS and _DEFAULTS[key] is None:
            continue
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"'{key}' of {where} must be of type {kind.__name__}, got {value!r}")
    if not checked["trainable"] or not all(isinstance(pattern, str) for pattern in checked["trainable"]):
        raise UserError(
            f"{where} must name at least one part under 'trainable', or '*' for all, got {checked['trainable']!r}"
        )
    dropout = 0.0 if checked["dropout"] is None else checked["dropout"]
    patience = 1 if checked["patience"] is None else checked["patience"]
    speeds = 0 < checked["lr"] < math.inf and 0 <= checked["weight_decay"] < math.inf
    if not (speeds and 0 <= dropout < 1 and checked["epochs"] >= 1 and patience >= 1):
        raise UserError(
            f"{where} needs epochs ≥ 1, lr > 0, weight_decay ≥ 0, dropout from 0 to below 1 and patience ≥ 1, "
            f"got {dict(stage)}"
        )
    if checked["schedule"] not in _SCHEDULES:
        raise UserError(f"'schedule' of {where} is {checked['schedule']!r}; choose one of: {', '.join(_SCHEDULES)}")
    if not 0 <= checked["warmup"] < checked["epochs"]:
        raise UserError(
            f"'warmup' of {where} must be at least 0 and less than its {checked['epochs']} epochs, "
            f"got {checked['warmup']!r}"
        )
    return checked

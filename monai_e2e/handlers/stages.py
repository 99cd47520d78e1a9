"""Staged unfreezing: train the last layers first, then more of the network (paper §2.3)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ignite.engine import Engine, Events
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from monai_e2e.errors import UserError

logger = logging.getLogger(__name__)

_STAGE_KEYS = {"name": str, "trainable": list, "lr": float, "epochs": int, "weight_decay": float}
_OPTIONAL_KEYS = ("weight_decay",)


class StagedTraining:
    """Ignite handler that sets, at the start of each epoch, what is trained in it and how fast.

    The stage is derived from the epoch number, so one trainer runs all stages and a resumed one finds its own;
    ``engine.state.stage`` (from 1) and ``engine.state.learning_rate`` tell other handlers.
    At a change of stage the optimizer's moments are dropped, as in the author's code, which compiled anew.

    Args:
        network: network with an attribute ``stages``, a mapping of names to module names, in which order it is
            only for messages. Without it the names of its direct children are used.
        optimizer: optimizer over all parameters of the network. A group named ``"decay"`` (or all groups, where none
            has that name) receives a stage's ``weight_decay``.
        stages: list of dicts ``{"name", "trainable", "lr", "epochs"[, "weight_decay"]}``; ``trainable`` holds
            shell-style patterns of the network's stage names, such as ``["top.*", "head"]`` or ``["*"]``.
        frozen_batchnorm: ``"eval"``: a frozen batch normalisation uses and keeps its running statistics, so that
            what was learned on patches stays as it is (default); ``"batch"``: it goes on using and averaging the
            batch's statistics, as in the author's version of Keras.

    Raises:
        UserError: when a stage has unknown, missing or ill-typed keys or a pattern matches nothing.

    Example::

        StagedTraining(net, optimizer, [
            {"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-4, "epochs": 30},
            {"name": "all layers", "trainable": ["*"], "lr": 1e-5, "epochs": 20},
        ]).attach(trainer)
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        stages: Sequence[Mapping],
        frozen_batchnorm: str = "eval",
    ) -> None:
        if frozen_batchnorm not in ("eval", "batch"):
            raise UserError(f"frozen_batchnorm must be 'eval' or 'batch', got '{frozen_batchnorm}'")
        self.network = network
        self.optimizer = optimizer
        self.stages = [_checked(stage, index) for index, stage in enumerate(stages, start=1)]
        if not self.stages:
            raise UserError("the list of training stages is empty: give at least one")
        self.frozen_batchnorm = frozen_batchnorm
        self.current: int | None = None
        self._frozen_norms: list[nn.Module] = []
        self._groups: Mapping[str, Sequence[str]] = getattr(network, "stages", None) or {
            name: (name,) for name, _ in network.named_children()
        }
        for stage in self.stages:
            self._matching(stage)

    @staticmethod
    def total_epochs(stages: Sequence[Mapping]) -> int:
        """Number of epochs of all stages together, the trainer's ``max_epochs``."""
        return sum(_checked(stage, index)["epochs"] for index, stage in enumerate(stages, start=1))

    def stage_of(self, epoch: int) -> int:
        """Index of the stage that epoch ``epoch`` (from 1) belongs to; epochs past the plan belong to the last."""
        last = 0
        for index, stage in enumerate(self.stages):
            last += stage["epochs"]
            if epoch <= last:
                return index
        return len(self.stages) - 1

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)
        # MONAI's trainer puts the whole network into training mode before every forward pass.
        self.network.register_forward_pre_hook(self._keep_frozen_norms_in_eval)

    def __call__(self, engine: Engine) -> None:
        index = self.stage_of(engine.state.epoch)
        if index != self.current:
            self._enter(index, engine.state.epoch)
        engine.state.stage = index + 1
        engine.state.learning_rate = self.stages[index]["lr"]

    def _enter(self, index: int, epoch: int) -> None:
        stage = self.stages[index]
        chosen = {id(p) for name in self._matching(stage) for p in self.network.get_submodule(name).parameters()}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
            parameter.grad = None  # Adam would go on moving a frozen layer by its last gradient
        self._frozen_norms = [
            module
            for module in self.network.modules()
            if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters())
        ]
        if self.current is not None:  # the first stage's optimizer is new, or has just been resumed
            self.optimizer.state.clear()
        decaying = [group for group in self.optimizer.param_groups if group.get("name") == "decay"]
        for group in self.optimizer.param_groups:
            group["lr"] = stage["lr"]
        for group in decaying or self.optimizer.param_groups:
            group["weight_decay"] = stage["weight_decay"]
        self.current = index
        trained = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        total = sum(p.numel() for p in self.network.parameters())
        logger.info(
            "Stage %d of %d, '%s', from epoch %d for %d epochs: learning rate %g, %.2f of %.2f million parameters.",
            index + 1,
            len(self.stages),
            stage["name"],
            epoch,
            stage["epochs"],
            stage["lr"],
            trained / 1e6,
            total / 1e6,
        )

    def _matching(self, stage: Mapping) -> list[str]:
        modules: list[str] = []
        for pattern in stage["trainable"]:
            names = [name for name in self._groups if fnmatchcase(name, pattern)]
            if not names:
                raise UserError(
                    f"pattern '{pattern}' of stage '{stage['name']}' matches no part of the network; "
                    f"its parts are: {', '.join(self._groups)}"
                )
            modules += [module for name in names for module in self._groups[name]]
        return modules

    def _keep_frozen_norms_in_eval(self, network: nn.Module, _inputs: tuple) -> None:
        if network.training and self.frozen_batchnorm == "eval":
            for module in self._frozen_norms:
                module.eval()


def _checked(stage: Mapping, index: int) -> dict:
    if not isinstance(stage, Mapping):
        raise UserError(f"training stage {index} must be a dict with {', '.join(_STAGE_KEYS)}, got {stage!r}")
    where = f"training stage {index} ('{stage.get('name', 'unnamed')}')"
    if unknown := set(stage) - set(_STAGE_KEYS):
        raise UserError(f"{where} has unknown keys {sorted(unknown)}; allowed are: {', '.join(_STAGE_KEYS)}")
    if missing := set(_STAGE_KEYS) - set(stage) - set(_OPTIONAL_KEYS):
        raise UserError(f"{where} lacks {sorted(missing)}")
    checked = {"weight_decay": 0.0, **stage}
    for key, kind in _STAGE_KEYS.items():
        value = checked[key]
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise UserError(f"'{key}' of {where} must be of type {kind.__name__}, got {value!r}")
    if not checked["trainable"]:
        raise UserError(f"{where} trains nothing: name at least one part under 'trainable', or '*' for all")
    if checked["epochs"] < 1 or checked["lr"] <= 0 or checked["weight_decay"] < 0:
        raise UserError(f"{where} needs epochs ≥ 1, lr > 0 and weight_decay ≥ 0, got {dict(stage)}")
    return checked

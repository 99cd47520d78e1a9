"""Staged unfreezing: train the last layers first, then more of the network (paper §2.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ignite.engine import Engine, Events
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from monai_e2e.errors import UserError
from monai_e2e.handlers.stage_parts import BATCHNORM, train_alone, trained_modules, warn_of_never_trained
from monai_e2e.handlers.stage_plan import PlanPosition, check_stages, fit_plan, rate_factor
from monai_e2e.networks.distributed import unwrapped

logger = logging.getLogger(__name__)


class StagedTraining:
    """Ignite handler that sets which layers are trained, and their learning rate, at the start of each epoch.

    One trainer runs all stages. A stage lasts for its number of epochs. With a ``patience`` it ends earlier, when the
    watched metric has not improved for that many epochs, and the next stage begins with the next epoch. Training ends
    with the last stage. Other handlers find the current values in ``engine.state.stage`` (from 1) and
    ``engine.state.learning_rate``.

    ``requires_grad`` is set before the first forward pass of an epoch, so the frozen bottom layers run without autograd
    and keep no activations. With :class:`~torch.nn.parallel.DistributedDataParallel`, wrap the network while all its
    parameters are trainable, use ``find_unused_parameters=True``, and leave the freezing to this handler.

    To resume, restore the network, the optimizer, the trainer and this handler's :meth:`state_dict` from one
    checkpoint, written after an epoch's validation. An unfinished stage then continues with the restored optimizer and
    its learning rate, unless the learning rate in the plan was changed.

    Args:
        network: network with an attribute ``stages``, a mapping of stage names to module names; its order matters
            only in messages. Without that attribute the names of its direct children are used.
        optimizer: optimizer over all parameters of the network. A stage's ``weight_decay`` applies to the parameter
            group named ``"decay"``, or to all groups if none has that name.
        stages: list of dicts with these keys:

            - ``name``: for messages;
            - ``trainable``: shell-style patterns of the network's stage names, such as ``["top.*", "head"]`` or
              ``["*"]``; ``batchnorm`` means all batch-normalisation layers of the network;
            - ``lr``: learning rate;
            - ``epochs``: number of epochs;
            - ``weight_decay`` (optional, default 0);
            - ``dropout`` (optional): probability of all dropout layers from this stage on; by default unchanged;
            - ``reset_optimizer`` (optional, default true): whether the optimizer's moments are cleared at the start of
              the stage, as in the author's code, which compiles the model again for each stage;
            - ``patience`` (optional): epochs without improvement after which the stage ends; by default never;
            - ``schedule`` (optional): ``"constant"`` (default), or ``"cosine"``: the learning rate falls along half a
              cosine to 0 at the end of the stage (Loshchilov & Hutter 2017), updated at each iteration;
            - ``warmup`` (optional, default 0): epochs, or a fraction of one, over which the learning rate first rises
              linearly from 0, updated at each iteration.
        frozen_batchnorm: ``"eval"`` (default): frozen batch normalisation uses its running statistics and keeps them.
            The statistics of a whole-image batch, two images, would distort features that were learned on patches.
            ``"batch"``: it uses each batch's statistics and updates the running ones, as in the author's Keras.
        validator: evaluator whose metrics are watched each time it completes; required with any ``patience``.
        monitor: name of the watched metric.
        mode: ``"min"`` or ``"max"``, whether lower or higher is better. NaN is no improvement.
        patience: epochs without improvement, counted over all stages, after which training ends; None for never.
        rounds: whether each run of the trainer is one round of a federation. A round runs the whole plan, fitted to
            its number of epochs by :func:`~monai_e2e.handlers.stage_plan.fit_plan`, with a new optimizer. So it depends
            on no earlier round, and a site may miss some.

    Raises:
        UserError: when a stage has unknown, missing or invalid keys, a pattern matches nothing, a patience is given
            without a validator, or, during training, the validator lacks the watched metric.

    Example::

        StagedTraining(net, optimizer, [
            {"name": "top layers", "trainable": ["top.*", "head"], "lr": 1e-4, "epochs": 30},
            {"name": "all layers", "trainable": ["*"], "lr": 1e-5, "epochs": 20, "patience": 10},
        ], validator=evaluator).attach(trainer)
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        stages: Sequence[Mapping],
        frozen_batchnorm: str = "eval",
        validator: Engine | None = None,
        monitor: str = "val_loss",
        mode: str = "min",
        patience: int | None = None,
        rounds: bool = False,
    ) -> None:
        if frozen_batchnorm not in ("eval", "batch"):
            raise UserError(f"frozen_batchnorm must be 'eval' or 'batch', got '{frozen_batchnorm}'")
        if mode not in ("min", "max"):
            raise UserError(f"mode must be 'min' or 'max', got '{mode}'")
        if patience is not None and (type(patience) is not int or patience < 1):
            raise UserError(f"patience must be a whole number of epochs from 1 on, or null for none, got {patience!r}")
        self.network: nn.Module = unwrapped(network)
        self.optimizer = optimizer
        self.stages = check_stages(stages)
        if not self.stages:
            raise UserError("the list of training stages is empty: give at least one")
        self.frozen_batchnorm = frozen_batchnorm
        self.validator, self.monitor, self.mode, self.patience = validator, monitor, mode, patience
        self._watching = patience is not None or any(stage["patience"] is not None for stage in self.stages)
        if self._watching and validator is None:
            raise UserError("patience needs a validator whose metrics can be watched: give one, or leave patience out")
        self._trainer: Engine | None = None
        self._worst = math.inf if mode == "min" else -math.inf
        self._progress = PlanPosition.before(1, self._worst)
        self._applied = False
        self._frozen_norms: list[nn.Module] = []
        self._groups: dict[str, Sequence[str]] = dict(
            getattr(self.network, "stages", None) or {name: (name,) for name, _ in self.network.named_children()}
        )
        norms = [name for name, module in self.network.named_modules() if isinstance(module, _BatchNorm)]
        self._groups |= {BATCHNORM: norms} if norms else {}
        warn_of_never_trained(self.stages, self._groups, self.network)
        self._inherit_dropout()
        self.rounds, self._plan = rounds, self.stages

    @staticmethod
    def total_epochs(stages: Sequence[Mapping]) -> int:
        """Number of epochs of all stages together, the trainer's ``max_epochs``."""
        return sum(stage["epochs"] for stage in check_stages(stages))

    @property
    def over(self) -> bool:
        """Whether the plan has no epochs left, or training has stalled."""
        now, last = self._progress, len(self.stages) - 1
        at_end = now.stage == last and now.epoch >= now.first_epoch + self.stages[last]["epochs"] - 1
        return at_end or self._stalled(self.patience, now.best_epoch) or (now.stage == last and self._stage_stalled())

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, and to the validator if its metrics are watched."""
        self._trainer = engine
        engine.add_event_handler(Events.STARTED, self._begin_round if self.rounds else self._end_if_over)
        engine.add_event_handler(Events.EPOCH_STARTED, self)
        if any(stage["schedule"] != "constant" or stage["warmup"] for stage in self.stages):
            engine.add_event_handler(Events.ITERATION_STARTED, self._set_rate)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._complete_epoch)
        if self._watching and self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self._watch)
        # MONAI's trainer puts the whole network into training mode before every forward pass.
        self.network.register_forward_pre_hook(self._keep_frozen_norms_in_eval)

    def state_dict(self) -> dict[str, int | float]:
        """The run's position in the plan, as plain numbers."""
        return asdict(self._progress)

    def load_state_dict(self, state: Mapping[str, int | float]) -> None:
        """Continue from the position that :meth:`state_dict` returned.

        Raises:
            UserError: when the state is not one of this handler, or its stage is not in the plan.
        """
        fields = asdict(self._progress)
        if not isinstance(state, Mapping) or set(state) != set(fields):
            raise UserError(
                f"the checkpoint's training stages must hold {sorted(fields)}, got {state!r}: "
                "resume from a checkpoint of this version, or start over"
            )
        if not -1 <= state["stage"] < len(self.stages):
            raise UserError(
                f"the checkpoint is in stage {state['stage'] + 1} of training, but the plan has {len(self.stages)}: "
                "resume with the plan that the run was started with"
            )
        self._progress = PlanPosition(**{key: type(fields[key])(value) for key, value in state.items()})
        self._applied = False

    def __call__(self, engine: Engine) -> None:
        if not self.over:
            index, first_epoch = self._stage_at(engine.state.epoch)
            if index != self._progress.stage or not self._applied:
                self._apply(index, first_epoch, engine.state.epoch)
            self._progress.epoch = engine.state.epoch - 1
            engine.state.stage = index + 1
            engine.state.learning_rate = self.optimizer.param_groups[0]["lr"]
        self._end_if_over(engine)

    def _begin_round(self, engine: Engine) -> None:
        self.stages = fit_plan(self._plan, engine.state.max_epochs - engine.state.epoch)
        self._progress = PlanPosition.before(engine.state.epoch + 1, self._worst)
        self._applied = False
        self.optimizer.state.clear()

    def _set_rate(self, engine: Engine) -> None:
        """Set the learning rate of the next iteration, which depends only on its position in the stage."""
        stage, length = self.stages[self._progress.stage], engine.state.epoch_length
        done = engine.state.iteration - 1 - (self._progress.first_epoch - 1) * length
        if stage["schedule"] == "constant" and done > stage["warmup"] * length:
            return
        rate = stage["lr"] * rate_factor(stage, done / length, (done + 1) / length)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        engine.state.learning_rate = rate

    def _stage_at(self, epoch: int) -> tuple[int, int]:
        """Index of the stage that this epoch belongs to, and that stage's first epoch."""
        index, first_epoch = max(self._progress.stage, 0), self._progress.first_epoch
        if self._stage_stalled() and index < len(self.stages) - 1:
            return index + 1, epoch
        while index < len(self.stages) - 1 and epoch >= first_epoch + self.stages[index]["epochs"]:
            first_epoch += self.stages[index]["epochs"]
            index += 1
        return index, first_epoch

    def _apply(self, index: int, first_epoch: int, epoch: int) -> None:
        stage, now = self.stages[index], self._progress
        modules = [self.network.get_submodule(name) for name in trained_modules(stage, self._groups)]
        self._frozen_norms = train_alone(self.network, modules)
        if stage["dropout"] is not None:
            for module in self.network.modules():
                if isinstance(module, _DropoutNd):
                    module.p = stage["dropout"]
        entered = index != now.stage
        if entered and now.stage >= 0 and stage["reset_optimizer"]:  # the first stage's optimizer is new
            self.optimizer.state.clear()
        groups = self.optimizer.param_groups
        if entered or stage["lr"] != now.lr:  # else a scheduler may have changed it since the stage began
            for group in groups:
                group["lr"] = stage["lr"]
        for group in [group for group in groups if group.get("name") == "decay"] or groups:
            group["weight_decay"] = stage["weight_decay"]
        now.lr = stage["lr"]
        if entered:
            now.stage, now.first_epoch = index, first_epoch
            now.stage_best, now.stage_best_epoch = self._worst, first_epoch - 1
        self._applied = True
        end = first_epoch + stage["epochs"]
        if self._trainer is not None and self._trainer.state.max_epochs is not None:  # it may end before the plan
            end = min(end, self._trainer.state.max_epochs + 1)
        logger.info(
            "Stage %d of %d, '%s', from epoch %d to %d: learning rate %g, %.2f of %.2f million parameters.",
            index + 1,
            len(self.stages),
            stage["name"],
            epoch,
            end - 1,
            groups[0]["lr"],
            sum(p.numel() for p in self.network.parameters() if p.requires_grad) / 1e6,
            sum(p.numel() for p in self.network.parameters()) / 1e6,
        )

    def _complete_epoch(self, engine: Engine) -> None:
        self._progress.epoch = engine.state.epoch
        self._end_if_over(engine)

    def _watch(self, validator: Engine) -> None:
        """Record the score of the current epoch, and end training where its patience is used up."""
        now, metrics = self._progress, validator.state.metrics
        if now.stage < 0 or self._trainer is None:  # a validation before training is no epoch
            return
        if self.monitor not in metrics:
            raise UserError(
                f"the metric '{self.monitor}' that early stopping watches is not among the validator's: "
                f"set monitor to one of {', '.join(map(str, metrics)) or '(it has none)'}"
            )
        score, now.validated = float(metrics[self.monitor]), self._trainer.state.epoch
        sign = -1 if self.mode == "min" else 1
        if sign * score > sign * now.best:
            now.best, now.best_epoch = score, now.validated
        if sign * score > sign * now.stage_best:
            now.stage_best, now.stage_best_epoch = score, now.validated
        if self._stage_stalled() or self._stalled(self.patience, now.best_epoch):
            best = (now.stage_best, now.stage_best_epoch) if self._stage_stalled() else (now.best, now.best_epoch)
            logger.info("%s has not improved on %g of epoch %d: stage %d ends.", self.monitor, *best, now.stage + 1)
        self._end_if_over(self._trainer)

    def _end_if_over(self, engine: Engine) -> None:
        if self.over and not engine.should_terminate and engine.state.epoch != engine.state.max_epochs:
            logger.info("The training stages ended with epoch %d.", self._progress.epoch)
            engine.terminate()

    def _stage_stalled(self) -> bool:
        now = self._progress
        return now.stage >= 0 and self._stalled(self.stages[now.stage]["patience"], now.stage_best_epoch)

    def _stalled(self, patience: int | None, best_epoch: int) -> bool:
        return patience is not None and self._progress.validated - best_epoch >= patience

    def _inherit_dropout(self) -> None:
        """Copy a stage's dropout to the later stages that set none, so that a resumed run has it too."""
        dropout = None
        for stage in self.stages:
            dropout = stage["dropout"] if stage["dropout"] is not None else dropout
            stage["dropout"] = dropout
        if dropout is not None and not any(isinstance(module, _DropoutNd) for module in self.network.modules()):
            raise UserError(f"a training stage sets dropout {dropout:g}, but the network has no dropout: leave it out")

    def _keep_frozen_norms_in_eval(self, network: nn.Module, _inputs: tuple) -> None:
        if network.training and self.frozen_batchnorm == "eval":
            for module in self._frozen_norms:
                module.eval()

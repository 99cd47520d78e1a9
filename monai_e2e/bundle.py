"""Functions that the bundles' JSON configs call: folders, checks of overrides, one-line errors, start and end."""

from __future__ import annotations

import logging
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from monai.bundle import ConfigWorkflow
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.bundle.reference_resolver import ReferenceResolver
from monai.engines import Evaluator
from monai.utils import BundlePropertyConfig

from monai_e2e import overrides
from monai_e2e.errors import UserError, did_you_mean, of_the_system
from monai_e2e.work.interrupt import STATUS, end_on_interrupt
from monai_e2e.work.locking import hold
from monai_e2e.work.threads import begin_worker as begin_worker
from monai_e2e.work.threads import limit_threads as limit_threads

logger = logging.getLogger(__name__)

Runner = TypeVar("Runner")

_LOADER_ENDED = re.compile(r"DataLoader worker \(pid.*?\) (is killed by signal: [\w ]+|exited unexpectedly)")
_TOO_SMALL = re.compile("Output size is too small|Kernel size can't be greater than actual input size")
_IN_A_TRACEBACK = re.compile(rf"^{UserError.__module__}\.{UserError.__name__}: (.+)$", re.MULTILINE)


def bundle_root() -> str:
    """Folder of the bundle whose config is being run, so that the same command works from any folder.

    MONAI's configs assume the current folder (``"."``). The workflow that reads the config knows its real place.
    Outside a workflow this is the current folder, as in the Model Zoo.
    """
    workflow = running_workflow()
    if workflow is None:
        return str(Path.cwd())
    config_dir = Path(workflow.config_root_path).resolve()
    return str(config_dir.parent if config_dir.name == "configs" else config_dir)


def is_federated() -> bool:
    """Whether the config is being run by a federation's client, such as MONAI's ``MonaiAlgo``."""
    clients = sys.modules.get("monai.fl.client")  # imported already if one is running; importing it takes seconds
    return clients is not None and _running(clients.ClientAlgo) is not None


def begin() -> None:
    """First step of every bundle: read overrides as typed; refuse what is misspelt, wrongly typed or without effect.

    MONAI silently accepts any ``--key value``. Refused are a plain value at the top level that no other part of the
    config refers to, and an argument that a component doesn't have. MONAI also makes a string of ``--amp false``, which
    is true as a condition: the strings ``true``, ``false`` and ``null`` of top-level keys become their JSON values.
    Paths stay as typed, see :mod:`monai_e2e.overrides`. From here on a user's mistake is shown as one line.

    Raises:
        UserError: when there is such a key, a value is of another kind than its key, the device can't be used, or the
            part to be run does nothing; the message proposes the nearest known word.
    """
    sys.excepthook = _one_line_excepthook
    for handler in logging.getLogger().handlers:
        handler.addFilter(_no_traceback_of_a_mistake)
    workflow = running_workflow()
    if workflow is None:
        return
    if overrides.command_line():
        training = workflow.run_id == "training"
        advice = "the same command with --resume true continues after the last complete epoch"
        advice = advice if training else "run the same command again"
        end_on_interrupt(advice if os.environ.get("RANK", "0") == "0" else None)
    typed = overrides.typed_overrides(overrides.command_line())
    overrides.read_as_typed(workflow, typed)
    _refuse_unknown_keys(workflow.parser.get())
    overrides.check_kinds(workflow)
    overrides.refuse_unknown_arguments(workflow.parser)
    overrides.check_run_id(workflow)
    overrides.refuse_without_effect(workflow, typed)
    if isinstance(name := workflow.parser.get("device"), str) and _is_plain(name):
        overrides.replace(workflow, "device", choose_device(name))


def _refuse_unknown_keys(config: Mapping[str, object]) -> None:
    """Refuse references to keys that there aren't, and plain keys that nothing refers to."""
    used = {reference for text in _strings(config) for reference in _references(text)}
    if missing := sorted({reference.split("::")[0] for reference in used} - set(config) - {""}):
        raise UserError(
            f"the config refers to '{missing[0]}'{f' and {len(missing) - 1} more keys' if missing[1:] else ''} that it "
            "doesn't have: name the file that defines them first, such as --config_file \"['configs/train.json',"
            "'configs/evaluate.json']\""
        )
    known = {
        str(specification[BundlePropertyConfig.ID])
        for properties in (TrainProperties, InferProperties, MetaProperties)
        for specification in properties.values()
    } | {"run_name"}  # set by MONAI's federated client
    _refuse_unknown_plain(config, used, known)
    for name in ("train", "validate"):
        if isinstance(part := config.get(name), Mapping):
            _refuse_unknown_plain(part, _below(name, used), _below(name, known), f"{name}#")


def _below(name: str, references: Iterable[str]) -> set[str]:
    return {reference.removeprefix(f"{name}::") for reference in references if reference.startswith(f"{name}::")}


def _refuse_unknown_plain(part: Mapping[str, object], used: set[str], known: set[str], where: str = "") -> None:
    used, known = ({reference.split("::")[0] for reference in references} for references in (used, known))
    for key, value in part.items():
        if key in used or key in known or not _is_plain(value):
            continue
        if not where and "stages" in part:
            overrides.refuse_of_a_stage(key, value)
        words = [f"{where}{word}" for word in sorted(used & set(part))]
        raise UserError(f"unknown key '{where}{key}' (value {value!r}): {did_you_mean(f'{where}{key}', words)}")


def choose(recipes: Mapping[str, Mapping], name: str) -> Mapping:
    """The recipe called ``name``. All recipes must have the same keys, so that no key is forgotten in one of them.

    Raises:
        UserError: when there is no such recipe or the recipes' keys differ.
    """
    if name not in recipes:
        raise UserError(f"unknown recipe '{name}': {did_you_mean(name, recipes)}")
    for other, recipe in recipes.items():
        if odd := set(recipe) ^ set(recipes[name]):
            raise UserError(
                f"recipes '{name}' and '{other}' must have the same keys; add these to the other one, or remove "
                f"them: {sorted(odd)}"
            )
    return recipes[name]


def choose_device(name: str | None, amp: bool = False) -> torch.device:
    """The device of that name; None takes a GPU if there is one, otherwise the CPU.

    Raises:
        UserError: when the device can't be used, or ``amp`` is asked for on a CPU.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device '{name}' can't be used here: choose cpu, or cuda where there is a GPU") from error
    if amp and device.type == "cpu":
        raise UserError("--amp computes in float16, which needs a GPU: leave it out, or choose --device cuda")
    return device


def begin_training(output_dir: str, model_dir: str, epochs: int, val_interval: int) -> None:
    """First step of a training: lock its folders, and refuse a plan without a validation, which would leave no model.

    Args:
        output_dir: folder of the run, locked until the process ends.
        model_dir: folder of the model, likewise.
        epochs: number of epochs of the training.
        val_interval: epochs from one validation to the next.

    Raises:
        UserError: when there would be no epoch or no validation, or another process writes to one of the folders.
    """
    if type(epochs) is not int or epochs < 1:
        raise UserError(
            f"train#trainer#max_epochs {epochs}: give a whole number from 1 on, or leave it out to run all stages"
        )
    if type(val_interval) is not int or not 1 <= val_interval <= epochs:
        raise UserError(
            f"val_interval {val_interval}: give a whole number from 1 to {epochs}, the epochs of this training, since "
            "models are chosen by validation"
        )
    if os.environ.get("RANK", "0") == "0":  # only rank 0 writes
        for folder in (output_dir, model_dir):
            hold(folder)


def report_best(evaluator: Evaluator, model_dir: str, output_dir: str, start: str) -> None:
    """Last step of a training: log the best value, what the network started from, and where the model is."""
    state = evaluator.state
    if state.best_metric_epoch < 1:
        logger.warning(
            "No model was saved, since no validation gave a finite %s. The network started from %s. Try a lower "
            "learning rate. To see the curves: "
            "tensorboard --logdir %s",
            state.key_metric_name,
            start,
            output_dir,
        )
        return
    logger.info(
        "Best %s %.3f, at epoch %d, of a network that started from %s: %s/model.pt. To watch the curves: "
        "tensorboard --logdir %s",
        state.key_metric_name,
        state.best_metric,
        state.best_metric_epoch,
        start,
        model_dir,
        output_dir,
    )


def user_error(error: BaseException | None) -> UserError | None:
    """The user's mistake, or a problem that they can solve, in a chain of exceptions; None if there is none.

    An exception in a loader's process reaches the main process without its chain; its text has the whole traceback.
    """
    while error is not None:
        if told := _IN_A_TRACEBACK.search(str(error)):
            return UserError(told[1])
        if isinstance(error, UserError):
            return error
        if condition := of_the_system(error) or _of_torch(error):
            return condition
        error = error.__cause__ or error.__context__
    return None


def _of_torch(error: BaseException) -> UserError | None:
    """A lack of memory that PyTorch reports, as a UserError."""
    if isinstance(error, torch.OutOfMemoryError):
        return UserError(
            "out of the GPU's memory: pass a smaller --batch_size, --checkpoint_activations true or --amp true"
        )
    if _TOO_SMALL.search(str(error)):
        return UserError(
            "the images are too small for the network's layers: pass a larger --patch_size for patches, or prepare "
            "with a larger --image-size for whole images, or take fewer --top_blocks"
        )
    if ended := _LOADER_ENDED.search(str(error)):
        return UserError(
            f"{ended[0]}, most likely for lack of memory: pass a smaller --num_workers or --cache disk, in a container "
            "more shared memory (--shm-size), and continue with --resume true"
        )
    return None


def _no_traceback_of_a_mistake(record: logging.LogRecord) -> bool:
    """Log filter: drops a user error that MONAI or Ignite logs with its traceback, before its one line is shown."""
    if record.exc_info and user_error(record.exc_info[1]) is not None:
        return False
    return _IN_A_TRACEBACK.search(record.getMessage()) is None


def _one_line_excepthook(
    kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None
) -> None:
    if kind is KeyboardInterrupt and overrides.command_line():
        os._exit(STATUS)  # the message is written already
    mistake = user_error(error)
    if mistake is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        sys.stderr.write(f"error: {mistake}\n")


def running_workflow() -> ConfigWorkflow | None:
    """MONAI's workflow whose config is being run, None outside one."""
    return _running(ConfigWorkflow)


def _running(kind: type[Runner]) -> Runner | None:
    """The object of that class with a method on the call stack, None if there is none.

    MONAI gives a config no access to the workflow that runs it.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, kind):
            return candidate
        frame = frame.f_back
    return None


def _strings(config: object) -> Iterator[str]:
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _strings(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _strings(value)


def _references(text: str) -> Iterator[str]:
    yield from ReferenceResolver.match_refs_pattern(text)
    if text.startswith("%"):
        yield text[1:].replace("#", "::")


def _is_plain(value: object) -> bool:
    """Whether a value has no expression, reference or component, so that it acts only if another key refers to it."""
    if isinstance(value, Mapping) and "_target_" in value:
        return False
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return not (isinstance(value, str) and value.startswith(("$", "@", "%")))

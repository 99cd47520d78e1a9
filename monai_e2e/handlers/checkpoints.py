"""Checkpoints to resume a training from."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch import nn
from torch.utils.tensorboard.writer import SummaryWriter

from monai_e2e.checkpoints.files import FORMAT, UNFIT, DamagedError, as_plain, read_checkpoint, save_atomically
from monai_e2e.errors import UserError
from monai_e2e.networks.architecture import DESCRIPTIONS, decode_description
from monai_e2e.networks.distributed import rank, unwrapped

logger = logging.getLogger(__name__)

_BEST = ("best_metric", "best_metric_epoch")
_ITERATIONS = "iterations of an epoch"


class TrainingCheckpoint:
    """Ignite handler that writes ``epoch_0001.pt`` and so on, and resumes a training from the newest of them.

    It writes at the end of each epoch, after all other handlers and so after the validation, wherever it stands in the
    list. A file is complete or absent, even if the process is killed while writing, and holds only plain tensors,
    numbers, strings, lists and dicts, so that reading it cannot run code. With :class:`SeedEpochs`, which makes the
    random draws of an epoch independent of earlier epochs, a run that is killed and resumed ends with the same weights
    as one that was not.

    In a distributed run list it on all ranks; rank 0 writes, all ranks read.

    Args:
        save_dir: folder of the checkpoints, a different one for each run.
        objects: what is restored, by name: network, optimizer, stage handler, scheduler, or anything else with a
            ``state_dict`` of plain values and a ``load_state_dict``. The trainer's state and its gradient scaler are
            always included.
        validator: evaluator whose best metric is saved too.
        fingerprint: plain values that must be the same in a resumed run, such as ``{"seed": …, "stages": …}``; the
            number of iterations of an epoch is added.
        keep: number of checkpoints that are kept; with two, there is one to fall back on if the newest is damaged.
        resume: start from the newest undamaged checkpoint in ``save_dir``, or from epoch 1 if the folder has none.
            Without it the end of the first epoch removes the checkpoints of earlier runs.
        summary_writer: TensorBoard's writer, if there is one, which is told at which step this run starts, so that
            steps of an earlier run from there on aren't shown.

    Raises:
        UserError: when a checkpoint can't be written; before training, when all files are damaged, or the newest
            undamaged one contains code, is of another network or version, or has another fingerprint.
    """

    def __init__(
        self,
        save_dir: str | Path,
        objects: Mapping[str, Any],
        validator: Engine | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        keep: int = 2,
        resume: bool = False,
        summary_writer: SummaryWriter | None = None,
    ) -> None:
        if type(keep) is not int or keep < 1:
            raise UserError(f"keep must be the number of checkpoints that stay, 1 or more, got {keep!r}")
        for name, thing in objects.items():
            if not (hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")):
                raise UserError(f"'{name}' ({type(thing).__name__}) has no state_dict to save: leave it out of objects")
        self.save_dir = Path(save_dir)
        self.objects = {name: unwrapped(thing) for name, thing in objects.items()}
        self.validator = validator
        self.fingerprint = as_plain(dict(fingerprint or {}), "fingerprint")
        self.keep = keep
        self.resume = resume
        self._writer = summary_writer
        self._found: tuple[Path, dict[str, Any]] | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer; to resume, read and check the checkpoint."""
        if self.resume:
            self._found = self._newest()
            if self._found is not None:
                self._check(*self._found, engine)
        engine.add_event_handler(Events.STARTED, self._start)

    def __call__(self, engine: Engine) -> None:
        """Write the checkpoint of the epoch that has just ended, then remove old ones."""
        if rank() > 0:
            return
        path = self.save_dir / f"epoch_{engine.state.epoch:04d}.pt"
        save_atomically(self._content(engine), path)
        earlier = [old for old in self._files() if _epoch_of(old) < engine.state.epoch]
        kept = [path, *earlier[: self.keep - 1]]
        for old in self._files():
            if old not in kept:  # those of later epochs are an earlier run's, or damaged
                old.unlink(missing_ok=True)

    def _start(self, engine: Engine) -> None:
        # Not earlier: when a run starts, the trainer makes its gradient scaler, and resets the state of an ended run.
        # And all other handlers are attached by now, so their work at the end of an epoch comes before this one's.
        if not engine.has_event_handler(self, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        epochs = idist.all_gather(0 if self._found is None else self._found[1]["epoch"])
        if isinstance(epochs, list) and len(set(epochs)) > 1:
            raise UserError(
                f"the processes found checkpoints of different epochs in {self.save_dir} ({epochs}, by rank): "
                "put it on a disk that all of them share"
            )
        if self._found is not None:
            self._restore(*self._found, engine)
            self._found = None
        elif self.resume:
            logger.info("No checkpoint in %s to resume from: starting with epoch 1.", self.save_dir)
        elif left := self._files():
            logger.warning(
                "%s holds checkpoints of an earlier training, up to epoch %d. Starting over, since resume is false; "
                "they are removed at the end of the first epoch.",
                self.save_dir,
                _epoch_of(left[0]),
            )
        self._mark_start(engine.state.iteration + 1)

    def _mark_start(self, step: int) -> None:
        """Let TensorBoard drop what an earlier run wrote from that iteration on, like PyTorch's ``purge_step``.

        It drops from all curves alike, also from those by epoch. But an epoch has at least one iteration, so a step of
        those that is valid is always below that iteration. What an epoch wrote at its end, before its checkpoint, is
        written again with the same value. TensorBoard takes the first mark in a folder as its beginning, so each run
        writes one. Its data server, the default where it is installed, needs no mark.
        """
        if self._writer is not None:
            start = Event(step=step, session_log=SessionLog(status=SessionLog.START))
            self._writer._get_file_writer().add_event(start)

    def _files(self) -> list[Path]:
        """Checkpoints in the folder, newest first."""
        return sorted((p for p in self.save_dir.glob("epoch_*.pt") if _epoch_of(p) > 0), key=_epoch_of, reverse=True)

    def _content(self, engine: Engine) -> dict[str, Any]:
        state = engine.state
        content = {
            "format": FORMAT,
            "fingerprint": self.fingerprint | {_ITERATIONS: state.epoch_length},
            "epoch": state.epoch,
            "iteration": state.iteration,
            "ended": bool(engine.should_terminate),  # early; the resumed run itself checks its number of epochs
            "objects": {name: thing.state_dict() for name, thing in self.objects.items()},
            "scaler": _scaler_state(engine),
            "best": {name: best_of(whose) for name, whose in self._engines(engine).items()},
        }
        return as_plain(content, "checkpoint")

    def _engines(self, engine: Engine) -> dict[str, Engine]:
        return {"trainer": engine} | ({} if self.validator is None else {"validator": self.validator})

    def _newest(self) -> tuple[Path, dict[str, Any]] | None:
        files = self._files()
        for path in files:
            try:
                return path, read_checkpoint(path)
            except DamagedError as error:
                logger.warning("Checkpoint %s can't be used (%s): going back to the one before.", path, error)
        if files:
            raise UserError(
                f"none of the {len(files)} checkpoints in {self.save_dir} can be read: "
                "restore them from a copy, or delete them to start over"
            )
        return None

    def _check(self, path: Path, content: Mapping[str, Any], engine: Engine) -> None:
        here = self.fingerprint | {_ITERATIONS: engine.state.epoch_length}
        if difference := next(_differences(content["fingerprint"], here), None):
            raise UserError(
                f"{path} is of another training: {difference}; resume with the settings of that run, and its version "
                "of monai-e2e, or start over (resume false, or another output_dir)"
            )
        if odd := set(content["objects"]) ^ set(self.objects):
            raise UserError(
                f"{path} holds {', '.join(content['objects'])}, but this training has {', '.join(self.objects)}: "
                f"resume with the handlers of that run ({', '.join(sorted(odd))} is in one only)"
            )
        for name, thing in self.objects.items():
            if isinstance(thing, nn.Module):
                _check_network(thing, content["objects"][name], f"{path} is of another network: '{name}.")

    def _restore(self, path: Path, content: Mapping[str, Any], engine: Engine) -> None:
        for name, thing in self.objects.items():
            try:
                thing.load_state_dict(content["objects"][name])
            except UserError:
                raise
            except UNFIT as error:
                raise UserError(
                    f"{path} does not fit: '{name}' can't be restored from it ({error}); "
                    "resume with the settings of that run, or start over (resume false)"
                ) from error
        scaler = getattr(engine, "scaler", None)
        if scaler is not None and content["scaler"]:
            scaler.load_state_dict(content["scaler"])
        for name, whose in self._engines(engine).items():
            for key, value in content["best"].get(name, {}).items():
                setattr(whose.state, key, value)
        engine.state.epoch, engine.state.iteration = content["epoch"], content["iteration"]
        if content["ended"] or content["epoch"] >= engine.state.max_epochs:
            logger.info("The training in %s ended with epoch %d: nothing left to do.", path, content["epoch"])
            engine.terminate()
        else:
            logger.info("Resuming after epoch %d of %d, from %s.", content["epoch"], engine.state.max_epochs, path)


def _epoch_of(path: Path) -> int:
    match = re.fullmatch(r"epoch_(\d+)\.pt", path.name)
    return int(match.group(1)) if match else 0


def _check_network(network: nn.Module, state: Mapping[str, torch.Tensor], start: str) -> None:
    own = network.state_dict()
    for key in [*own, *(key for key in state if key not in own)]:
        if key not in DESCRIPTIONS and (key not in own or key not in state or own[key].shape != state[key].shape):
            there, here = (str(list(of[key].shape)) if key in of else "absent" for of in (state, own))
            raise UserError(f"{start}{key}' is {there} in the file and {here} in this training{_hint(state, own)}")
    if hint := _hint(state, own):
        raise UserError(f"{start}architecture' differs{hint}")


def _hint(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """How the architectures recorded in file and network differ, in brackets; empty if they don't."""
    if "architecture" not in state or "architecture" not in own:
        return ""
    there, here = decode_description(state["architecture"]), decode_description(own["architecture"])
    found = "; ".join(_differences(there, here))
    return f" ({found})" if found else ""


def _differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    """The differences between two plain values, each as a clause."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*there, *(key for key in here if key not in there)]:
            path = f"{where}.{key}" if where else str(key)
            if key in there and key in here:
                yield from _differences(there[key], here[key], path)
            else:
                yield f"{path} is in {'the file' if key in there else 'this training'} only"
    elif isinstance(there, (list, tuple)) and isinstance(here, (list, tuple)) and len(there) == len(here):
        for index, (a, b) in enumerate(zip(there, here, strict=True)):
            yield from _differences(a, b, f"{where}[{index}]")
    elif there != here:
        yield f"{where} is {there!r} in the file and {here!r} in this training"


def _scaler_state(engine: Engine) -> dict[str, Any]:
    scaler = getattr(engine, "scaler", None)
    return {} if scaler is None else scaler.state_dict()


def best_of(engine: Engine) -> dict[str, Any]:
    """An engine's best metric and its epoch."""
    values = {key: getattr(engine.state, key, None) for key in _BEST}
    return {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in values.items()}

"""Files of tensors: written whole or not at all, read without running what they may carry."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_e2e.checkpoints.torchscript import read_tensors
from monai_e2e.errors import UserError
from monai_e2e.work.files import written_whole

#: To be raised when a training's checkpoint changes its form.
FORMAT = 1
#: What a state that doesn't fit leads to when it is taken apart or loaded.
UNFIT = (RuntimeError, ValueError, LookupError, AttributeError, TypeError)
_UNREADABLE = (*UNFIT, OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error)


class DamagedError(Exception):
    """A checkpoint that is not what was written."""


def save_atomically(content: Any, path: Path) -> None:
    """Write a file with ``torch.save``: all of it or, whenever the process or computer stops, what was there before.

    Raises:
        UserError: when it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder can't be opened
            folder = os.open(path.parent, os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)
    except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of some failures
        with suppress(OSError):
            partial.unlink()
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{path} can't be written ({reason}): free some space, or name another folder") from error


def save_shared(content: Any, path: Path) -> None:
    """As :func:`save_atomically`, for a file that other processes may be writing too; the last one's stays.

    Raises:
        UserError: when it cannot be written.
    """
    with written_whole(path) as own:
        save_atomically(content, own)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training's checkpoint, running no code that it may carry.

    Raises:
        DamagedError: when the file is not what was written.
        UserError: when it holds Python objects, is none of a training, or is of another version.
    """
    refusal = (
        f"{path} is refused: it is not made of plain tensors and numbers alone, as a checkpoint is, but holds Python "
        "objects, which may run code; delete it to resume from the checkpoint before it"
    )
    try:
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"  # not even a fragment of what this package writes begins so
        pickled = pickled or any("/code/" in name for name in _verified_names(path))  # TorchScript
        content = None if pickled else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own message advises weights_only=False, which would run whatever code the file carries.
        raise UserError(refusal) from error
    except _UNREADABLE as error:
        raise DamagedError(str(error).partition("\n")[0] or type(error).__name__) from error
    if pickled:
        raise UserError(refusal)
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{path} is not a checkpoint of a training: move it elsewhere, and resume again")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} has format {content['format']}, this version reads {FORMAT}: "
            "resume with the version of monai-e2e that wrote it, or start over (resume false)"
        )
    return content


def map_checkpoint(path: Path) -> dict[str, Any]:
    """A file that :func:`read_checkpoint` has found sound, its tensors mapped into memory, not read.

    Raises:
        DamagedError: when it is no longer what was written.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        raise DamagedError(str(error).partition("\n")[0] or type(error).__name__) from error


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict of plain tensors.

    Args:
        path: a file written by ``torch.save``, either the state dict or a dict that holds it under ``"model"``, and
            ``patients`` beside it, see :func:`monai_e2e.federated.model_file`; or a network as TorchScript (``.ts``),
            whose code is not run.

    Raises:
        UserError: when the file is absent, is not a checkpoint or holds anything but plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: train the model first, or name another file")
    try:
        if zipfile.is_zipfile(path):  # files of PyTorch before 1.6 are none and have no checksums
            _verified_names(path)
        if path.suffix == ".ts":
            content: Any = read_tensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except DamagedError as error:
        raise UserError(f"{path} is damaged ({error}): fetch it again, or train it again") from error
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        # Torch's own message advises weights_only=False, which would run whatever code the file carries.
        raise UserError(
            f"{path} can't be read as plain tensors: it is damaged, no checkpoint, or holds Python objects, which may "
            "run code; fetch it again, or save the network's state_dict() with torch.save"
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if isinstance(state, dict) and isinstance(content, dict) and "patients" in content:
        state = {**state, "patients": content["patients"]}
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of tensors: save network.state_dict()")
    return state


def _verified_names(path: Path) -> list[str]:
    """Names of what is in a file of ``torch.save``, whose checksums are looked at.

    Torch itself doesn't look at them, so it would load flipped bits as weights.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise DamagedError(f"wrong checksum of {damaged}")
        return archive.namelist()


def as_plain(value: Any, where: str) -> Any:
    """A value made of what ``torch.load(weights_only=True)`` reads; NumPy's scalars become Python's numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {as_plain(key, where): as_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [as_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise UserError(
        f"{where} is a {type(value).__name__}, which a checkpoint can't hold without pickled objects: "
        "its state_dict() may return numbers, strings, tensors, lists and dicts"
    )

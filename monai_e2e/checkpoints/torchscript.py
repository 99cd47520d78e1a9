"""What a TorchScript file holds, read without running it.

``torch.jit.load`` runs code of the file, the ``__setstate__`` of its modules, before anybody has asked for anything.
PyTorch's own printer of pickles makes plain records of whatever objects a file names, and imports and calls nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.show_pickle import DumpUnpickler, FakeObject

_MODULES = "__torch__"
#: Names of PyTorch's typed storages, which its files keep to.
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a network that was saved as TorchScript, by the names of its state dict.

    Raises:
        ValueError: when a module has a state of its own making. Errors of :mod:`pickle` and :mod:`zipfile`, and a
            KeyError for a file or a type that isn't known, pass.
    """
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        network = DumpUnpickler(io.BytesIO(archive.read(f"{folder}/data.pkl")), catch_invalid_utf8=True).load()
        return {name: _tensor(archive, folder, record) for name, record in _records(network, "")}


def _records(module: FakeObject, prefix: str) -> Iterator[tuple[str, FakeObject]]:
    if not isinstance(module.state, dict):
        raise ValueError(f"{prefix or 'the network'} has a state that isn't a dict")
    for name, value in module.state.items():
        if isinstance(value, FakeObject) and value.module.startswith(_MODULES):
            yield from _records(value, f"{prefix}{name}.")
        elif isinstance(value, FakeObject) and value.name == "_rebuild_tensor_v2":
            yield f"{prefix}{name}", value


def _tensor(archive: zipfile.ZipFile, folder: str, record: FakeObject) -> torch.Tensor:
    storage, offset, size, stride = record.args[:4]
    _, kind, key, *_ = storage.args[0]
    numbers = torch.frombuffer(bytearray(archive.read(f"{folder}/data/{key}")), dtype=_DTYPES[kind.name])
    return numbers.as_strided(size, stride, offset).clone()

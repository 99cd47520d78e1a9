"""Networks without weights in memory, to check their shapes or to fill them from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def without_numbers() -> Iterator[None]:
    """Build networks on the meta device: their weights take no memory and are not initialised."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """Skips the random initialisation, for which PyTorch would first import its compiler, which takes 1.5 seconds."""

    def __torch_function__(
        self,
        function: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return args[0] if function in _DRAWING else function(*args, **(kwargs or {}))


_DRAWING = {torch.Tensor.normal_, torch.Tensor.uniform_}

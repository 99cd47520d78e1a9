"""Networks as shapes alone, to be looked at before, or filled by, a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def without_numbers() -> Iterator[None]:
    """What is built in the block takes no memory for its weights, and draws none."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """Leaves out the drawing of weights, for which PyTorch would first import its compiler: a second and a half."""

    def __torch_function__(
        self,
        function: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return args[0] if function in _DRAWING else function(*args, **(kwargs or {}))


_DRAWING = {torch.Tensor.normal_, torch.Tensor.uniform_}

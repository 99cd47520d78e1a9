"""MONAI's chain of transforms, without what takes longer than to augment a patch."""

from __future__ import annotations

from typing import Any

from monai.transforms import Compose
from monai.transforms.traits import LazyTrait
from monai.transforms.transform import apply_transform


class Chain(Compose):
    """MONAI's ``Compose``, which gives the same samples in half the time where transforms are quick.

    Around each transform ``Compose`` looks for lists of samples and for resampling that was put off (*lazy*). Here it
    does so only for what may need it: transforms that can be lazy, and samples that are no plain dictionaries.

    Args:
        compose: the chain to run.
    """

    def __init__(self, compose: Compose) -> None:
        vars(self).update(vars(compose))  # Compose's own __init__ would seed the transforms anew

    def __call__(
        self, input_: Any, start: int = 0, end: int | None = None, threading: bool = False, lazy: bool | None = None
    ) -> Any:
        if threading or self.log_stats or (self.lazy if lazy is None else lazy) is not False:
            return super().__call__(input_, start, end, threading, lazy)
        for transform in self.transforms[start:end]:
            if type(input_) is not dict or isinstance(transform, LazyTrait):
                input_ = apply_transform(transform, input_, self.map_items, self.unpack_items, lazy=False)
                continue
            try:
                input_ = transform(input_)
            except Exception as error:  # as MONAI has it
                raise RuntimeError(f"applying transform {transform}") from error
        return input_

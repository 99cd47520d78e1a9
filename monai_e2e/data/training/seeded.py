"""Samples whose augmentation doesn't depend on the process that makes them, or on those made before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose, Randomizable

from monai_e2e.data.training.chain import Chain


class Draw(int):
    """Index of a sample, with the number of times that the epoch has drawn it before.

    Args:
        index: index of the sample.
        repetition: 0 for its first time in the epoch.
    """

    repetition: int

    def __new__(cls, index: int, repetition: int = 0) -> Draw:
        draw = super().__new__(cls, index)
        draw.repetition = repetition
        return draw


class SeededDataset(torch.utils.data.Dataset):
    """A data set whose random transforms depend only on seed, epoch and index.

    MONAI's random transforms, and the CPU generators of Python, NumPy and torch, go on from sample to sample. Each of a
    loader's processes has its own, so with another number of processes a sample would look different. Here all are
    seeded before each sample, and the global ones are restored after it. A sample that a sampler draws again in the
    epoch is augmented differently if its index is a :class:`Draw`.

    Args:
        dataset: data set with an attribute ``transform``, as MONAI's have.
        seed: whole number, 0 or more.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0
        # One for all transforms, which draw one after the other: to make one takes longer than to augment a patch.
        self._state = np.random.RandomState()
        self._random = list(_random_parts(dataset.transform))

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, before the loader starts its processes, as :class:`~monai_e2e.handlers.SeedEpochs` does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """A batch, as PyTorch's loader asks for it."""
        with _global_generators_kept():
            return [self._draw(index) for index in indices]

    def _draw(self, index: int) -> Any:
        entropy = np.random.SeedSequence([self.seed, self.epoch, int(index), getattr(index, "repetition", 0)])
        of_transforms, of_torch, of_numpy, of_python = (int(number) for number in entropy.generate_state(4))
        torch.default_generator.manual_seed(of_torch)  # CUDA's, which a network's dropout draws from, is left alone
        np.random.seed(of_numpy)
        random.seed(of_python)
        self._state.seed(of_transforms)
        for part in self._random:
            part.set_random_state(state=self._state)
        return self.dataset[int(index)]


def _random_parts(transform: Any) -> Iterator[Randomizable]:
    """What draws in a chain of transforms, found as MONAI's ``set_rnd`` finds it."""
    if type(transform) in (Compose, Chain):  # which draw nothing themselves
        for one in transform.transforms:
            yield from _random_parts(one)
    elif hasattr(transform, "set_random_state"):
        yield transform
    else:
        for value in getattr(transform, "__dict__", {}).values():
            yield from _random_parts(value)


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])

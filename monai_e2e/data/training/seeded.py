"""Samples whose augmentation doesn't hang on which process made them, or after which others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.data.utils import set_rnd


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
    """A data set whose random transforms draw what follows from seed, epoch and index alone.

    MONAI's random transforms, and Python's, NumPy's and torch's own generators on the CPU, go on from sample to sample,
    in each of a loader's processes by itself: with another number of processes a sample would look otherwise. Here all
    are seeded before each sample, and the global ones put back after it. A sample that a sampler draws again in the
    epoch is augmented otherwise if its index is a :class:`Draw`.

    Args:
        dataset: data set with an attribute ``transform``, as MONAI's have.
        seed: whole number, 0 or more.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, before the loader starts its processes, as :class:`~monai_e2e.handlers.SeedEpochs` does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        entropy = np.random.SeedSequence([self.seed, self.epoch, int(index), getattr(index, "repetition", 0)])
        of_transforms, *of_global = (int(number) for number in entropy.generate_state(4))
        with _global_generators(*of_global):
            set_rnd(self.dataset.transform, of_transforms)
            return self.dataset[int(index)]


@contextmanager
def _global_generators(of_torch: int, of_numpy: int, of_python: int) -> Iterator[None]:
    """Seed them for a while; CUDA's, which a network's dropout draws from, are left alone."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(of_torch)
    np.random.seed(of_numpy)
    random.seed(of_python)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])

"""Class balance by sampling, the alternative to sample weights within a batch (paper §2.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from torch.utils.data.distributed import DistributedSampler

from monai_e2e.data.training.seeded import Draw
from monai_e2e.errors import UserError


class BalancedSampler(DistributedSampler):
    """Draws samples with replacement so that every class comes as often as the others (paper §2.3).

    An epoch is as long as the data and one draw over all of it, a function of seed and epoch alone, so that a resumed
    run repeats it. Process ``rank`` takes every ``num_replicas``-th of the draw: together the processes see in each
    step the samples that one process with the sum of their batches would. MONAI's trainer calls :meth:`set_epoch`.

    (MONAI's ``DistributedWeightedRandomSampler`` draws within each process's share of the data, where a rare class
    may be absent, and from a generator that goes on from epoch to epoch.)

    Args:
        data: samples, dicts with an integer ``label``.
        seed: seed of the draws.
        num_replicas: number of processes.
        rank: number of this process, from 0.

    Raises:
        UserError: when there is no data or a sample has no integer label.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], seed: int = 0, num_replicas: int = 1, rank: int = 0) -> None:
        if not len(data):
            raise UserError("balanced sampling has no samples to draw from: the partition is empty")
        labels = [_label(data[index], index) for index in range(len(data))]
        # The samples stay with the data set; the base class asks for their number only.
        super().__init__(range(len(labels)), num_replicas=num_replicas, rank=rank, seed=seed)  # type: ignore[arg-type]
        counts = Counter(labels)
        self.weights = torch.tensor([1 / counts[label] for label in labels], dtype=torch.double)

    def __iter__(self) -> Iterator[int]:
        mixed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)  # seed + epoch would collide
        generator = torch.Generator().manual_seed(int(mixed[0]))
        drawn = torch.multinomial(self.weights, len(self.weights), replacement=True, generator=generator).tolist()
        return islice(_count(cycle(drawn)), self.rank, self.total_size, self.num_replicas)


def _count(drawn: Iterable[int]) -> Iterator[Draw]:
    """The indices, each with the number of times that it came before, so that no two are augmented alike."""
    times: Counter[int] = Counter()
    for index in drawn:
        yield Draw(index, times[index])
        times[index] += 1


def make_sampler(
    data: Sequence[Mapping[str, Any]], balanced: bool, seed: int = 0, num_replicas: int = 1, rank: int = 0
) -> Sampler | None:
    """Sampler for a training loader: a :class:`BalancedSampler`, or None where the loader is to shuffle by itself.

    With several processes that don't balance it is torch's ``DistributedSampler``, which gives each its share.

    Example::

        sampler = make_sampler(samples, balanced, seed)
        DataLoader(dataset, batch_size=32, sampler=sampler, shuffle=sampler is None)

    Raises:
        UserError: when there is no data to balance or a sample has no integer label.
    """
    if balanced:
        return BalancedSampler(data, seed, num_replicas, rank)
    if num_replicas > 1:
        return DistributedSampler(range(len(data)), num_replicas, rank, seed=seed)  # type: ignore[arg-type]
    return None


def _label(sample: Mapping[str, Any], index: int) -> int:
    label = sample.get("label")
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise UserError(
            f"balanced sampling needs an integer 'label' in every sample, got {label!r} in sample {index}: "
            "correct the data list, or set balanced to false"
        )
    return int(label)

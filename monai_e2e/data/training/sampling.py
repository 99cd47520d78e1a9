"""Which samples an epoch has: a share of all, or as many of each class, the alternative to weights (paper §2.3)."""

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


class EpochSampler(DistributedSampler):
    """Draws the samples of each epoch anew: a share of all, or so that classes come equally often (paper §2.3).

    A share is drawn without replacement, balanced classes with it. The draw is a function of seed and epoch alone, so
    that a resumed run repeats it. Process ``rank`` takes every ``num_replicas``-th of the draw: together the processes
    see in each step the samples that one process with the sum of their batches would. MONAI's trainer calls
    :meth:`set_epoch`.

    (MONAI's ``DistributedWeightedRandomSampler`` draws within each process's share of the data, where a rare class
    may be absent, and from a generator that goes on from epoch to epoch.)

    Args:
        data: samples, dicts with an integer ``label`` where classes are balanced.
        balanced: whether they are.
        seed: seed of the draws.
        share: samples of an epoch as a share of the data, above 0 and at most 1; at least one is drawn.
        num_replicas: number of processes.
        rank: number of this process, from 0.

    Raises:
        UserError: when there is no data, the share is out of range, or a sample has no integer label.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        balanced: bool,
        seed: int = 0,
        share: float = 1.0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if not len(data):
            raise UserError("there are no samples to draw from: the partition is empty")
        count = max(1, round(share * len(data)))
        # The samples stay with the data set; the base class asks for their number only.
        super().__init__(range(count), num_replicas=num_replicas, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.samples, self.count = len(data), count
        self.weights: torch.Tensor | None = None
        if balanced:
            labels = [_label(data[index], index) for index in range(len(data))]
            counts = Counter(labels)
            self.weights = torch.tensor([1 / counts[label] for label in labels], dtype=torch.double)

    def __iter__(self) -> Iterator[int]:
        mixed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)  # seed + epoch would collide
        generator = torch.Generator().manual_seed(int(mixed[0]))
        if self.weights is None:
            drawn = torch.randperm(self.samples, generator=generator)[: self.count]
        else:
            drawn = torch.multinomial(self.weights, self.count, replacement=True, generator=generator)
        return islice(_count(cycle(drawn.tolist())), self.rank, self.total_size, self.num_replicas)


def _count(drawn: Iterable[int]) -> Iterator[Draw]:
    """The indices, each with the number of times that it came before, so that no two are augmented alike."""
    times: Counter[int] = Counter()
    for index in drawn:
        yield Draw(index, times[index])
        times[index] += 1


def make_sampler(
    data: Sequence[Mapping[str, Any]],
    balanced: bool,
    seed: int = 0,
    share: float = 1.0,
    num_replicas: int = 1,
    rank: int = 0,
) -> Sampler | None:
    """Sampler for a training loader: an :class:`EpochSampler`, or None where the loader is to shuffle by itself.

    With several processes that take all samples as they are, it is torch's ``DistributedSampler``.

    Example::

        sampler = make_sampler(samples, balanced, seed)
        DataLoader(dataset, batch_size=32, sampler=sampler, shuffle=sampler is None)

    Raises:
        UserError: as :class:`EpochSampler` does.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise UserError(
            f"epoch_share must be a number above 0 and at most 1, the share of the samples of an epoch; got {share!r}"
        )
    if balanced or share < 1:
        return EpochSampler(data, balanced, seed, share, num_replicas, rank)
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

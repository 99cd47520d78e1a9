"""Epochs whose randomness depends on nothing but the seed and the epoch's number."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from monai_e2e.errors import UserError


class SeedEpochs:
    """Ignite handler that makes everything random in an epoch a function of seed, epoch and rank alone.

    At the start of each epoch it seeds Python's, NumPy's and torch's generators (CUDA's with them, so dropout too),
    the random transforms of the training data, the generators of the loader and its samplers, tells the epoch to
    samplers and data sets that have a ``set_epoch``, and starts the loader anew. So an epoch draws the same whether
    the run began with it or had trained before, and no state of a generator needs to be saved in order to resume.

    The loader is started here since Ignite otherwise does so at another moment in the first epoch of a run than in
    later ones, and would go on with a started one where ``epoch_length`` is less than the loader's length. Put it
    last of the trainer's handlers, so that whatever they set at the start of an epoch is set before samples are drawn.

    Where the data set is a :class:`~monai_e2e.data.training.seeded.SeededDataset`, an epoch draws the same with any
    number of workers. Of others each worker has its own generators, so that another number draws otherwise.

    Args:
        seed: whole number, 0 or more.

    Raises:
        UserError: when the seed is none, or the loader keeps its workers (``persistent_workers``), whose generators
            cannot be seeded again.
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"the seed must be a whole number, 0 or more, got {seed!r}: set the key 'seed'")
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        _refuse_persistent_workers(getattr(engine, "data_loader", None))
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        loader, epoch = engine.state.dataloader, engine.state.epoch
        _refuse_persistent_workers(loader)
        entropy = np.random.SeedSequence([self.seed, epoch, rank()])
        of_torch, of_numpy, of_python, of_transforms, of_loader = (int(n) for n in entropy.generate_state(5))
        torch.manual_seed(of_torch)
        np.random.seed(of_numpy)
        random.seed(of_python)
        dataset = getattr(loader, "dataset", None)
        set_rnd(dataset, of_transforms)
        for part in (dataset, *_samplers(loader)):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        for part in (loader, *_samplers(loader)):
            if isinstance(generator := getattr(part, "generator", None), torch.Generator):
                generator.manual_seed(of_loader)
        engine.set_data(loader)


def rank() -> int:
    """Number of this process among those that train together, 0 where it is alone."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if distributed else 0


def _samplers(loader: Iterable) -> Iterator[Any]:
    batches = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        if sampler is not None:
            yield sampler


def _refuse_persistent_workers(loader: Iterable | None) -> None:
    if getattr(loader, "persistent_workers", False):
        raise UserError(
            "persistent_workers of the training data loader must be false: workers that outlive an epoch keep the "
            "state of their random transforms, so that a resumed run would draw otherwise"
        )

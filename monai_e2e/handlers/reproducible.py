"""Seeding of each epoch, so that its random draws depend only on seed, epoch and rank."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from monai_e2e.errors import UserError
from monai_e2e.networks.distributed import rank


class SeedEpochs:
    """Ignite handler that makes all random draws of an epoch a function of seed, epoch and rank.

    At the start of each epoch it

    - seeds the generators of Python, NumPy and torch (CUDA included, so dropout too), the random transforms of the
      training data, and the generators of the loader and its samplers;
    - calls ``set_epoch`` of samplers and data sets that have it;
    - restarts the loader.

    So an epoch draws the same in a run that begins with it as in one that trained before, and no generator's state
    needs to be saved to resume.

    The loader is restarted here because Ignite starts it at another moment in the first epoch of a run than in later
    ones, and does not restart it where ``epoch_length`` is less than the loader's length. List this handler last, so
    that other handlers' settings for the epoch are made before samples are drawn.

    With a :class:`~monai_e2e.data.training.seeded.SeededDataset`, an epoch draws the same for any number of workers.
    With other data sets each worker has its own generators, so the draws depend on the number of workers.

    Args:
        seed: whole number, 0 or more.

    Raises:
        UserError: when the seed is not such a number, or the loader has ``persistent_workers``, whose generators
            can't be seeded again.
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


def _samplers(loader: Iterable) -> Iterator[Any]:
    batches = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        if sampler is not None:
            yield sampler


def _refuse_persistent_workers(loader: Iterable | None) -> None:
    if getattr(loader, "persistent_workers", False):
        raise UserError(
            "persistent_workers of the training data loader must be false: workers that outlive an epoch keep the "
            "state of their random transforms, so a resumed run would draw other samples"
        )

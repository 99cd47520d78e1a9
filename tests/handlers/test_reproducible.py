"""What is drawn in an epoch depends on the seed and its number, not on what was trained before it."""

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, Lambdad, RandLambdad
from torch.utils.data import DistributedSampler, RandomSampler, WeightedRandomSampler

from monai_e2e.data.training.sampling import EpochSampler
from monai_e2e.data.training.seeded import SeededDataset
from monai_e2e.errors import UserError
from monai_e2e.handlers import reproducible
from monai_e2e.handlers.reproducible import SeedEpochs

N = 12


class RandShift(RandLambdad):
    """Adds its own generator's number below 1, and a hundredth of the global generators' at that moment."""

    def __init__(self):
        super().__init__("x", func=lambda x: x + self.R.rand() + (random.random() + np.random.rand()) / 100)


class Rotation:
    """A sampler of our own, whose order is a function of the epoch."""

    def __init__(self):
        self.epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter([(i + self.epoch) % N for i in range(N)])

    def __len__(self):
        return N


def make_loader(workers=0, cached=False, batch_size=4, sampler=None, generator=False, seeded=False):
    transforms = Compose([Lambdad("x", float), RandShift(), RandShift()])
    kind = CacheDataset if cached else Dataset
    data = kind([{"x": 10 * i} for i in range(N)], transforms, **({"progress": False} if cached else {}))
    data = SeededDataset(data, 5) if seeded else data
    shared = torch.Generator() if generator else None
    samplers = {
        None: lambda: None,
        "rotation": Rotation,
        "distributed": lambda: DistributedSampler(data, num_replicas=2, rank=1),
        "weighted": lambda: WeightedRandomSampler([1.0 + i for i in range(N)], N, generator=shared),
        "balanced": lambda: EpochSampler([{"label": int(i == 0)} for i in range(N)], balanced=True),
        "share": lambda: EpochSampler([{}] * N, balanced=False, share=0.5),
        "twice": lambda: RandomSampler(data, num_samples=18, generator=shared),
    }
    chosen = samplers[sampler]()
    return DataLoader(
        data, num_workers=workers, batch_size=batch_size, sampler=chosen, shuffle=chosen is None, generator=shared
    )


def draws(loader, epochs, first=1, seed=5, epoch_length=None):
    """For each epoch, what its batches held and what dropout would draw; the run begins with epoch ``first``."""
    seen = {}

    def step(engine, batch):
        seen.setdefault(engine.state.epoch, []).append((batch["x"].tolist(), torch.rand(2).tolist()))

    engine = Engine(step)
    SeedEpochs(seed).attach(engine)

    @engine.on(Events.STARTED)
    def _resume(_engine):
        engine.state.epoch = first - 1
        engine.state.iteration = (first - 1) * engine.state.epoch_length

    @engine.on(Events.EPOCH_COMPLETED)
    def _validate(_engine):  # draws that a validation may or may not make
        torch.rand(first)
        np.random.rand(first)

    engine.run(loader, max_epochs=epochs, epoch_length=epoch_length)
    return seen


LOADERS = [
    {},
    {"cached": True},
    {"workers": 2},
    {"workers": 2, "cached": True},
    {"batch_size": 5},
    {"generator": True},
    {"generator": True, "batch_size": 5},
    {"generator": True, "workers": 2},
    {"sampler": "rotation"},
    {"sampler": "distributed"},
    {"sampler": "weighted"},
    {"sampler": "weighted", "generator": True},
    {"sampler": "twice", "generator": True},
    {"seeded": True, "sampler": "balanced"},
    {"seeded": True, "sampler": "share"},
]


@pytest.mark.parametrize("settings", LOADERS, ids=str)
def test_an_epoch_draws_the_same_in_a_run_that_begins_with_it(settings):
    whole = draws(make_loader(**settings), 4)
    assert list(whole) == [1, 2, 3, 4]
    for first in (2, 4) if settings.get("workers") else (2, 3, 4):
        torch.manual_seed(first)
        assert draws(make_loader(**settings), 4, first) == {e: whole[e] for e in range(first, 5)}


@pytest.mark.parametrize("settings", [{}, {"cached": True}, {"sampler": "balanced"}, {"generator": True}], ids=str)
def test_an_epoch_of_seeded_samples_is_the_same_with_any_number_of_workers(settings):
    alone = draws(make_loader(seeded=True, **settings), 2)
    assert draws(make_loader(seeded=True, workers=1, **settings), 2) == alone
    assert draws(make_loader(seeded=True, workers=2, **settings), 2, first=2) == {2: alone[2]}


def test_a_sample_that_is_drawn_again_in_an_epoch_is_augmented_otherwise():
    (epoch,) = draws(make_loader(seeded=True, sampler="balanced"), 1).values()
    rare = [x for batch, _ in epoch for x in batch if x < 10]
    assert len(rare) > 2
    assert len(set(rare)) == len(rare)


@pytest.mark.parametrize("epoch_length", [2, 5])
@pytest.mark.parametrize("generator", [False, True])
def test_it_also_holds_where_an_epoch_is_not_one_pass_over_the_data(epoch_length, generator):
    whole = draws(make_loader(generator=generator), 4, epoch_length=epoch_length)
    assert {len(batches) for batches in whole.values()} == {epoch_length}
    resumed = draws(make_loader(generator=generator), 4, first=3, epoch_length=epoch_length)
    assert resumed == {e: whole[e] for e in (3, 4)}


@pytest.mark.parametrize("settings", [{}, {"workers": 2}], ids=str)
def test_epochs_seeds_and_ranks_draw_differently(settings, monkeypatch):
    one = draws(make_loader(**settings), 2)
    other = draws(make_loader(**settings), 1, seed=6)
    monkeypatch.setattr(reproducible, "rank", lambda: 1)
    second = draws(make_loader(**settings), 1)
    distinct = [one[1], one[2], other[1], second[1]]
    assert len({str([batch for batch, _ in batches]) for batches in distinct}) == 4
    assert len({str([dropout for _, dropout in batches]) for batches in distinct}) == 4
    orders = [[int(x // 10) for batch, _ in batches for x in batch] for batches in distinct]
    assert all(sorted(order) == list(range(N)) for order in orders)
    assert len({str(order) for order in orders}) == 4


def test_samplers_with_set_epoch_are_told_it():
    whole = draws(make_loader(sampler="rotation"), 3)
    assert [int(whole[epoch][0][0][0] // 10) for epoch in (1, 2, 3)] == [1, 2, 3]


def test_loaders_that_keep_their_workers_are_refused():
    loader = DataLoader(Dataset(list(range(4))), num_workers=1, persistent_workers=True)
    engine = Engine(lambda engine, batch: None)
    SeedEpochs(0).attach(engine)
    with pytest.raises(UserError, match=r"persistent_workers .* must be false"):
        engine.run(loader)


@pytest.mark.parametrize("seed", [-1, 0.5, None, True, "1"])
def test_a_seed_must_be_a_whole_number(seed):
    with pytest.raises(UserError, match=f"whole number, 0 or more, got {seed!r}"):
        SeedEpochs(seed)

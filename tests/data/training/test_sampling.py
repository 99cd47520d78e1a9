"""Samples of an epoch: how often they and their classes come, and that seed, epoch and process alone decide on them."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import nn

from monai_e2e.data.training.sampling import EpochSampler, make_sampler
from monai_e2e.errors import UserError

#: Of 200 samples 160, 30 and 10 are of the classes 0, 1 and 2.
LABELS = [0] * 160 + [1] * 30 + [2] * 10
DATA = [{"image": torch.full((1,), float(index)), "label": label} for index, label in enumerate(LABELS)]


def epoch_of(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_loader_is_left_to_shuffle_when_not_balanced():
    assert make_sampler(DATA, balanced=False, seed=0) is None


def test_every_class_comes_equally_often():
    sampler = make_sampler(DATA, balanced=True, seed=0)
    drawn = Counter(LABELS[index] for epoch in range(50) for index in epoch_of(sampler, epoch))
    assert sum(drawn.values()) == 50 * len(DATA)
    for label in range(3):
        assert drawn[label] / (50 * len(DATA)) == pytest.approx(1 / 3, abs=0.02)  # four standard errors


def test_every_sample_of_a_class_comes_equally_often():
    drawn = Counter(index for epoch in range(200) for index in epoch_of(make_sampler(DATA, True, 0), epoch))
    expected = 200 * len(DATA) / 3 / 10
    assert all(drawn[index] == pytest.approx(expected, rel=0.15) for index in range(190, 200))
    assert set(drawn) == set(range(len(DATA)))


def test_weights_are_the_inverse_of_the_class_frequencies():
    weights = make_sampler(DATA, True, 0).weights
    assert weights.tolist() == pytest.approx([1 / 160] * 160 + [1 / 30] * 30 + [1 / 10] * 10)


def test_epoch_is_as_long_as_the_data():
    sampler = make_sampler(DATA, True, 0)
    assert len(sampler) == len(list(sampler)) == len(DATA)


def test_order_is_a_function_of_seed_and_epoch():
    one, other = make_sampler(DATA, True, seed=3), make_sampler(DATA, True, seed=3)
    uninterrupted = [epoch_of(one, epoch) for epoch in range(1, 5)]
    assert epoch_of(other, 4) == uninterrupted[3]  # as after a resume
    assert epoch_of(one, 2) == uninterrupted[1]
    orders = [tuple(epoch_of(make_sampler(DATA, True, seed), epoch)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16  # seed 1 of epoch 0 is not seed 0 of epoch 1


def test_order_neither_reads_nor_moves_the_global_random_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = list(make_sampler(DATA, True, 0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert list(make_sampler(DATA, True, 0)) == first


@pytest.mark.parametrize("replicas", [2, 4, 8])
def test_processes_share_one_draw(replicas):
    """In every step they see together what one process with the sum of their batches sees."""
    alone = epoch_of(make_sampler(DATA, True, 5), 2)
    shares = [epoch_of(make_sampler(DATA, True, 5, 1.0, replicas, rank), 2) for rank in range(replicas)]
    assert [index for step in zip(*shares, strict=True) for index in step] == alone


@pytest.mark.parametrize(("samples", "replicas"), [(199, 2), (5, 3), (2, 8)])
def test_shares_are_of_one_size_and_the_draw_is_repeated_to_fill_the_last(samples, replicas):
    data = DATA[-samples:]
    alone = list(make_sampler(data, True, 0))
    samplers = [make_sampler(data, True, 0, 1.0, replicas, rank) for rank in range(replicas)]
    shares = [list(sampler) for sampler in samplers]
    size = -(-samples // replicas)
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers] == [size] * replicas
    together = [index for step in zip(*shares, strict=True) for index in step]
    assert together == (alone * replicas)[: size * replicas]


def test_a_rare_class_reaches_every_process():
    data = [{"label": int(index < 3)} for index in range(100)]
    for rank in range(4):
        sampler = EpochSampler(data, True, num_replicas=4, rank=rank)
        share = [data[index]["label"] for epoch in range(20) for index in epoch_of(sampler, epoch)]
        assert sum(share) / len(share) == pytest.approx(0.5, abs=0.1)


def test_monai_trainer_tells_the_sampler_the_epoch():
    sampler = make_sampler(DATA, True, seed=1)
    seen: list[list[int]] = []

    def prepare(batch, *_arguments, **_named) -> tuple:
        seen[-1].extend(batch["image"].flatten().int().tolist())
        return batch["image"], batch["label"]

    network = nn.Linear(1, 3)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=3,
        train_data_loader=DataLoader(Dataset(DATA), batch_size=50, sampler=sampler, num_workers=0),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-9),
        loss_function=nn.CrossEntropyLoss(),
        prepare_batch=prepare,
        decollate=False,
    )
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _engine: seen.append([]))
    trainer.run()
    assert seen == [epoch_of(make_sampler(DATA, True, seed=1), epoch) for epoch in (1, 2, 3)]


@pytest.mark.parametrize("balanced", [True, False])
def test_config_that_makes_a_loader_of_it(balanced):
    config = {
        "data": [{"image": index, "label": int(index > 6)} for index in range(8)],
        "balanced": balanced,
        "sampler": {
            "_target_": "monai_e2e.data.training.sampling.make_sampler",
            "data": "@data",
            "balanced": "@balanced",
        },
        "loader": {
            "_target_": "DataLoader",
            "dataset": {"_target_": "Dataset", "data": "@data"},
            "batch_size": 4,
            "num_workers": 0,
            "sampler": "@sampler",
            "shuffle": "$not @balanced",
        },
    }
    loader = ConfigParser(json.loads(json.dumps(config))).get_parsed_content("loader")
    assert isinstance(loader.sampler, EpochSampler) == balanced
    assert len(list(loader)) == 2
    if not balanced:
        assert isinstance(loader.sampler, torch.utils.data.RandomSampler)


def test_a_share_is_drawn_anew_for_each_epoch_and_no_sample_of_it_twice():
    sampler = make_sampler(DATA, balanced=False, share=0.3)
    epochs = [epoch_of(sampler, epoch) for epoch in range(100)]
    assert all(len(epoch) == len(set(epoch)) == len(sampler) == 60 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) == 100
    drawn = Counter(index for epoch in epochs for index in epoch)
    assert set(drawn) == set(range(200))
    assert max(drawn.values()) < 50  # of 30 expected, four and a half standard errors


def test_a_share_of_balanced_classes_is_as_long_and_balanced():
    sampler = make_sampler(DATA, balanced=True, share=0.3)
    drawn = Counter(LABELS[index] for epoch in range(100) for index in epoch_of(sampler, epoch))
    assert len(sampler) == 60
    assert all(drawn[label] / 6000 == pytest.approx(1 / 3, abs=0.03) for label in range(3))


def test_processes_share_one_draw_of_a_share():
    alone = epoch_of(make_sampler(DATA, False, 5, 0.3), 2)
    shares = [epoch_of(make_sampler(DATA, False, 5, 0.3, 4, rank), 2) for rank in range(4)]
    assert [index for step in zip(*shares, strict=True) for index in step] == alone


def test_the_smallest_share_is_one_sample():
    assert len(list(make_sampler(DATA, False, share=0.001))) == 1


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan"), "0.5", True, None])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(UserError, match=r"epoch_share must be a number above 0 and at most 1.*got"):
        make_sampler(DATA, False, share=share)


@pytest.mark.parametrize("label", [1, np.int64(1), np.uint8(1)])
def test_labels_may_be_of_any_integer_type(label):
    assert len(make_sampler([{"label": 0}, {"label": label}], True)) == 2


@pytest.mark.parametrize("sample", [{}, {"label": None}, {"label": "1"}, {"label": 0.5}, {"label": True}])
def test_sample_without_an_integer_label_is_named(sample):
    with pytest.raises(UserError, match=r"integer 'label'.*in sample 1.*balanced to false"):
        make_sampler([{"label": 0}, sample], True)


def test_empty_partition_is_an_error():
    with pytest.raises(UserError, match="empty"):
        make_sampler([], True)

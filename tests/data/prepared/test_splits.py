"""Partitions: no patient in two of them, both classes in each, same seed → same partitions."""

from itertools import combinations
from pathlib import Path

import pytest

from monai_e2e.data.prepared.splits import (
    assert_disjoint,
    check_protocol,
    partition_of_fold,
    split_images,
    split_kfold,
    split_patients,
)
from monai_e2e.data.records import Catalogue, Laterality, Mammogram, View
from monai_e2e.errors import UserError

PROTOCOLS = ("paper", "official", "kfold")
FRACTIONS = {"training": 0.765, "validation": 0.085, "test": 0.15}


def images(patients: int, positive_every: int = 3, partition: str | None = None, prefix: str = "P") -> list[Mammogram]:
    """Two views per patient; the second view of every third patient is positive."""
    return [
        Mammogram(
            path=Path("image.dcm"),
            patient_id=f"{prefix}{number:04d}",
            laterality=Laterality.LEFT,
            view=view,
            label=int(number % positive_every == 0 and view is View.MLO),
            partition=partition,
        )
        for number in range(patients)
        for view in View
    ]


def patients_of(group: list[Mammogram]) -> set[str]:
    return {image.patient_id for image in group}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [9, 20, 101])
def test_no_patient_is_in_two_partitions_and_no_image_is_lost(count, seed):
    everything = images(count)
    partitions = split_patients(everything, FRACTIONS, seed)
    for first, second in combinations(partitions.values(), 2):
        assert not patients_of(first) & patients_of(second)
    assert sum(map(len, partitions.values())) == len(everything)
    assert all({image.label for image in group} == {0, 1} for group in partitions.values())


def test_shares_and_stratification_are_as_asked():
    partitions = split_patients(images(300), FRACTIONS, seed=1)
    assert {name: len(patients_of(group)) for name, group in partitions.items()} == {
        "training": 230,
        "validation": 25,
        "test": 45,
    }
    for group in partitions.values():
        positive = {image.patient_id for image in group if image.label}
        assert abs(len(positive) / len(patients_of(group)) - 1 / 3) < 0.04


def test_split_depends_on_seed_and_not_on_order():
    everything = images(60)
    first = split_patients(everything, FRACTIONS, seed=3)
    assert split_patients(everything[::-1], FRACTIONS, seed=3) == first
    assert split_patients(everything, FRACTIONS, seed=4) != first


def test_too_few_patients_of_one_class_are_an_error():
    with pytest.raises(UserError, match=r"2 patient\(s\) with a positive mammogram, but 3 partitions"):
        split_patients(images(6), FRACTIONS, seed=0)
    with pytest.raises(UserError, match="add up to 1"):
        split_patients(images(60), {"training": 0.5, "test": 0.4}, seed=0)


def test_shared_patient_is_detected():
    with pytest.raises(UserError, match="patient P0000 is in both training and test"):
        assert_disjoint({"training": images(2), "test": images(1)})


def test_paper_protocol_uses_the_training_half_only():
    catalogue = Catalogue("cbis", images(40, partition="training") + images(10, partition="test", prefix="T"))
    split = split_images(catalogue, "paper", seed=0)
    assert all(image.partition == "training" for group in split.partitions.values() for image in group)
    assert sum(item.rows for item in split.left_out) == 20
    assert {item.reason for item in split.left_out} == {"TCIA's test half: not used by protocol paper"}


def test_official_protocol_tests_on_tcia_s_half_and_drops_shared_patients_from_training():
    training = images(40, partition="training")
    test = images(3, partition="test") + images(10, partition="test", prefix="T")
    split = split_images(Catalogue("cbis", training + test), "official", seed=0)
    partitions = split.partitions
    assert {image.image_id for image in partitions["test"]} == {image.image_id for image in test}
    assert sum(item.rows for item in split.left_out) == 6
    assert len(partitions["training"]) + len(partitions["validation"]) == 80 - 6
    assert not patients_of(partitions["test"]) & patients_of(partitions["training"] + partitions["validation"])


def test_official_protocol_trains_on_no_patient_of_the_test_tables_whatever_images_there_are():
    catalogue = Catalogue(
        "cbis",
        images(40, partition="training") + images(10, partition="test", prefix="T"),
        test_patients=frozenset(["P0003", "T0001"]),
    )
    split = split_images(catalogue, "official", seed=0)
    assert "P0003" not in patients_of(split.partitions["training"] + split.partitions["validation"])
    assert sum(item.rows for item in split.left_out) == 2


def test_protocol_errors_name_the_choices():
    with pytest.raises(UserError, match="choose one of paper, official, kfold"):
        check_protocol("other", PROTOCOLS, None)
    with pytest.raises(UserError, match="needs TCIA's test half"):
        split_images(Catalogue("cbis", images(40, partition="training")), "official", seed=0)


def test_inbreast_keeps_thirty_percent_for_testing():
    split = split_images(Catalogue("inbreast", images(100)), "paper-70-30", seed=0)
    counts = {name: len(patients_of(group)) for name, group in split.partitions.items()}
    assert counts == {"training": 59, "validation": 11, "test": 30}
    assert split.left_out == []


def test_own_images_are_split_as_their_table_says_or_else_by_patient():
    split = split_images(Catalogue("folder", images(100)), "patients-70-15-15", seed=0)
    counts = {name: len(patients_of(group)) for name, group in split.partitions.items()}
    assert counts == {"training": 70, "validation": 15, "test": 15}
    named = images(4, 2, "training") + images(4, 2, "validation", "V") + images(4, 2, "test", "T")
    split = split_images(Catalogue("folder", named), "patients-70-15-15", seed=0)
    assert {image.patient_id[0] for image in split.partitions["validation"]} == {"V"}
    assert {image.patient_id[0] for image in split.partitions["test"]} == {"T"}
    with pytest.raises(UserError, match="patient P0000 is in both training and test"):
        split_images(Catalogue("folder", images(4, 2, "training") + images(1, 2, "test")), "patients-70-15-15", seed=0)
    with pytest.raises(UserError, match="leave out the column or --folds"):
        split_images(Catalogue("folder", named), "kfold", seed=0, folds=3)


@pytest.mark.parametrize("folds", [3, 5])
def test_folds_hold_every_patient_once_with_the_same_share_of_positive_ones(folds):
    everything = images(60)
    split = split_kfold(everything, folds, seed=1)
    assert set(split.fold_of) == patients_of(everything)
    for fold in range(folds):
        members = {patient for patient, own in split.fold_of.items() if own == fold}
        positive = {image.patient_id for image in everything if image.label and image.patient_id in members}
        assert len(members) == 60 // folds
        assert len(positive) in (20 // folds, 20 // folds + 1)
    assert patients_of(split.partitions["test"]) == {p for p, fold in split.fold_of.items() if fold == 0}
    assert patients_of(split.partitions["validation"]) == {p for p, fold in split.fold_of.items() if fold == 1}
    assert split_kfold(everything[::-1], folds, seed=1).fold_of == split.fold_of
    assert split_kfold(everything, folds, seed=2).fold_of != split.fold_of


def test_each_fold_is_tested_once_and_validates_once():
    for fold in range(4):
        roles = [partition_of_fold(fold, tested, 4) for tested in range(4)]
        assert sorted(roles) == ["test", "training", "training", "validation"]


@pytest.mark.parametrize(
    ("protocol", "folds", "message"),
    [
        ("kfold", None, "needs --folds 3 or more, got None"),
        ("kfold", 2, "needs --folds 3 or more, got 2"),
        ("paper", 5, "go with protocol 'kfold', not with 'paper'"),
    ],
)
def test_folds_that_cannot_be_are_refused(protocol, folds, message):
    with pytest.raises(UserError, match=message):
        check_protocol(protocol, PROTOCOLS, folds)


def test_more_folds_than_patients_of_a_kind_are_refused():
    with pytest.raises(UserError, match="9 folds need 9 patients with and 9 without a positive mammogram, found 4"):
        split_kfold(images(12), 9, seed=0)

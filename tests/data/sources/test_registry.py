"""Every data set of the registry has a reader that takes its options, and a row in the docs."""

import inspect
from pathlib import Path

import pytest

from monai_e2e.data.prepared.prepare import prepare_dataset
from monai_e2e.data.prepared.splits import split_images
from monai_e2e.data.records import Catalogue, Mammogram
from monai_e2e.data.sources.registry import SOURCES, find_source
from monai_e2e.errors import UserError

DOCS = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SOURCES)
def test_reader_takes_the_options_and_their_usual_value_is_its_own(name):
    source = SOURCES[name]
    parameters = inspect.signature(source.read()).parameters
    assert set(source.options) | {"src", "tables_only"} == set(parameters)
    for option, allowed in source.options.items():
        if allowed:
            assert parameters[option].default == allowed[0]


@pytest.mark.parametrize("name", SOURCES)
def test_what_an_option_changes_is_of_one_of_its_values(name):
    source = SOURCES[name]
    for option, value in source.variants:
        assert value in source.options[option][1:]
        assert source.under({option: value}).label_rule != source.label_rule
    assert source.under({option: values[0] for option, values in source.options.items() if values}) == source


@pytest.mark.parametrize("name", SOURCES)
def test_docs_say_what_the_label_rests_on_and_whether_a_download_was_met(name):
    source = SOURCES[name]
    if name == "folder":
        assert "`prepare folder`" in DOCS or "monai-e2e prepare folder" in DOCS
        return
    (row,) = [line for line in DOCS.splitlines() if f"| `prepare {name}` |" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[4] == f"{source.label_source}, {source.label_unit}"
    assert (cells[6] == "no") == (source.met == "")
    assert ("no models passed on" in cells[5]) != source.models_may_be_passed_on


def test_unknown_data_set_and_foreign_options_are_named(tmp_path):
    with pytest.raises(UserError, match="'ddsm': choose one of cbis-ddsm"):
        find_source("ddsm")
    with pytest.raises(UserError, match=r"--exclude-contralateral is for cmmd, not for rsna"):
        prepare_dataset("rsna", tmp_path, tmp_path / "out", exclude_contralateral=True)
    with pytest.raises(UserError, match=r"needs --labels"):
        prepare_dataset("folder", tmp_path, tmp_path / "out")


def images(partition: str | None, patients: range) -> list[Mammogram]:
    return [Mammogram(None, f"P{n}", None, None, n % 2, partition=partition) for n in patients]


def test_given_split_keeps_validation_patients_and_carves_them_where_there_are_none():
    test, training = images("test", range(10)), images("training", range(10, 50))
    split = split_images(Catalogue("vindr", test + training), "given", seed=0)
    assert {image.patient_id for image in split.partitions["test"]} == {f"P{n}" for n in range(10)}
    assert len(split.partitions["validation"]) == 4
    own = images("validation", range(50, 54))
    kept = split_images(Catalogue("vindr", test + training + own), "given", seed=0)
    assert {image.patient_id for image in kept.partitions["validation"]} == {f"P{n}" for n in range(50, 54)}
    assert len(kept.partitions["training"]) == 40


def test_given_split_needs_a_partition_of_each_image():
    catalogue = Catalogue("embed", images("test", range(10)) + images(None, range(10, 20)))
    with pytest.raises(UserError, match=r"protocol 'given': P\d+ has no partition"):
        split_images(catalogue, "given", seed=0)

"""EMBED: paths with a foreign prefix, findings joined to files, breasts without a row, follow-up, the licence."""

import logging
from pathlib import Path

import numpy as np
import pytest
from release_files import by_name, check_rows, prepared, reasons, write_csv, write_image

from monai_e2e.data.prepared.datalist import load_datalist
from monai_e2e.data.records import LesionType, Pathology
from monai_e2e.data.sources.embed import read_embed

FILE = {
    "FinalImageType": "2D",
    "ViewPosition": "CC",
    "spot_mag": "",
    "num_roi": 0,
    "ROI_coords": "()",
    "BreastImplantPresent": "NO",
    "Manufacturer": "HOLOGIC, Inc.",
    "ManufacturerModelName": "Selenia Dimensions",
}
FINDING = {
    "tissueden": 2.0,
    "numfind": 1,
    "massshape": "",
    "calcfind": "",
    "path_severity": "",
    "bside": "",
    "desc": "",
}


class Made:
    """Tables in the making: patients are numbers, exams are patient × 100 and a running number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.findings = folder, [], []

    def file(self, patient: int, exam: int, side: str, **values: object) -> str:
        cohort, name = 1 + patient % 2, f"1.2.3.{len(self.files)}"
        series = "1.2.9/" if side == "R" else ""  # some paths have the series, others don't
        path = f"cohort_{cohort}/{patient}/1.2.{exam}/{series}{name}.dcm"
        row = {"empi_anon": patient, "acc_anon": float(exam), "ImageLateralityFinal": side, **FILE}
        self.files.append({**row, "anon_dicom_path": f"/mnt/store/anon_dicom/{path}", **values})
        write_image(self.folder / "images" / path, len(self.files))
        return name

    def finding(self, patient: int, exam: int, side: str, asses: str, day: str = "2015-03-01", **values: object):
        row = {"empi_anon": patient, "acc_anon": exam, "study_date_anon": day, "side": side, "asses": asses}
        self.findings.append({**row, **FINDING, **values})

    def write(self) -> Path:
        write_csv(self.folder / "tables/EMBED_OpenData_metadata.csv", self.files)
        reduced = [{key: row[key] for key in list(row)[:8] if key in row} for row in self.files]
        write_csv(self.folder / "tables/EMBED_OpenData_metadata_reduced.csv", reduced)
        write_csv(self.folder / "tables/EMBED_OpenData_clinical.csv", self.findings)
        reduced = [{key: row[key] for key in (*list(row)[:6], "path_severity")} for row in self.findings]
        write_csv(self.folder / "tables/EMBED_OpenData_clinical_reduced.csv", reduced)
        legend = [{"Header in export": name, "Description": "…"} for name in ("empi_anon", "acc_anon", *FINDING)]
        write_csv(self.folder / "tables/AWS_Open_Data_Clinical_Legend.csv", legend)
        return self.folder


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "src")


def test_label_comes_from_the_rows_of_the_breast(made):
    cancer, other = made.file(1, 100, "L"), made.file(1, 100, "R")
    made.finding(1, 100, "L", "S", path_severity=0.0)
    benign, both = made.file(2, 200, "L"), made.file(3, 300, "R")
    made.finding(2, 200, "L", "S", path_severity=4)
    made.finding(3, 300, "B", "N")
    catalogue = check_rows(read_embed(made.write()))
    labels = {name: image.label for name, image in by_name(catalogue).items()}
    assert labels == {cancer: 1, other: 0, benign: 0, both: 0}
    assert catalogue.notes == {"images_of_breasts_without_a_row": 1}  # the right one of patient 1
    image = by_name(catalogue)[cancer]
    assert (image.partition, image.exam_id, image.density, image.vendor) == ("test", "100", 2, "HOLOGIC, Inc.")
    assert image.machine == "Selenia Dimensions"


def test_pathology_is_of_the_biopsys_side_which_may_not_be_the_findings(made):
    cancer, other = made.file(1, 100, "L"), made.file(1, 100, "R")
    made.finding(1, 100, "B", "N", path_severity=0, bside="L")
    unknown = made.file(2, 200, "L")
    made.finding(2, 200, "", "N", path_severity=1)
    catalogue = check_rows(read_embed(made.write()))
    assert {name: image.label for name, image in by_name(catalogue).items()} == {cancer: 1, other: 0}
    assert unknown not in by_name(catalogue)
    assert reasons(catalogue) == {"cancer whose side is unknown": 1}


def test_pathology_of_the_diagnostic_exam_counts_for_the_screening_exam(made):
    screening, late = made.file(1, 100, "L"), made.file(2, 200, "L")
    made.finding(1, 100, "L", "A")
    made.finding(1, 101, "L", "M", "2015-04-01", path_severity=1)
    made.finding(2, 200, "L", "N")
    made.finding(2, 201, "L", "M", "2016-01-10", path_severity=0)
    negative = made.file(3, 300, "L")
    made.finding(3, 300, "", "B")
    catalogue = check_rows(read_embed(made.write()))
    assert {name: image.label for name, image in by_name(catalogue).items()} == {screening: 1, negative: 0}
    assert late not in by_name(catalogue)
    assert reasons(catalogue) == {"cancer of the breast within a year, but not within 180 days, after the exam": 1}


def test_subtype_is_the_worst_of_the_cancers_that_the_label_comes_from(made):
    both, situ, later, benign = (made.file(patient, 100 * patient, "L") for patient in (1, 2, 3, 4))
    other = made.file(1, 100, "R")
    made.finding(1, 100, "L", "M", path_severity=1)
    made.finding(1, 100, "L", "M", path_severity=0.0)
    made.finding(2, 200, "L", "S", path_severity=1)
    made.finding(3, 300, "L", "A")
    made.finding(3, 301, "L", "M", "2015-04-01", path_severity=0)
    made.finding(4, 400, "L", "S", path_severity=4)
    images = by_name(read_embed(made.write()))
    subtypes = {name: image.subtype for name, image in images.items()}
    assert subtypes == {both: "invasive", situ: "in situ", later: "invasive", benign: None, other: None}


def test_what_is_no_usable_image_is_left_out_with_the_reason(made):
    usable = made.file(1, 100, "L")
    made.file(1, 100, "L", FinalImageType="cview")
    made.file(1, 100, "L", FinalImageType="C-view")
    made.file(1, 100, "L", spot_mag=1.0)
    made.file(1, 100, "L", ViewPosition="ML")
    made.file(1, 100, "L", BreastImplantPresent="YES")
    made.finding(1, 100, "B", "N")
    made.file(2, 200, "L")
    made.finding(2, 200, "L", "P")
    made.file(3, 300, "L")
    made.finding(3, 300, "L", "N", tissueden=5)
    made.file(4, 400, "L")
    made.file(5, 500, "L")
    made.finding(5, 500, "L", "M", path_severity=6.0)
    made.file(6, 600, "L")
    made.finding(6, 600, "L", "X")
    catalogue = check_rows(read_embed(made.write()))
    assert list(by_name(catalogue)) == [usable]
    assert reasons(catalogue) == {
        "no 2D mammogram": 2,
        "spot compression or magnification": 1,
        "view neither CC nor MLO": 1,
        "implant": 1,
        "not biopsied and not negative": 2,  # assessments P and X
        "cancer that isn't of the breast, or pathology not understood": 1,
        "male": 1,
        "exam without a clinical row": 1,
    }


def test_boxes_are_on_an_image_of_the_size_that_the_headers_had(made):
    whole, unknown = made.file(1, 100, "L", Rows=4096.0, Columns=3328.0), made.file(1, 100, "R", Rows="", Columns="")
    made.finding(1, 100, "B", "N")
    images = by_name(read_embed(made.write()))
    assert [images[name].outlined_size for name in (whole, unknown)] == [(4096, 3328), None]


def test_boxes_have_a_class_where_the_findings_agree(made):
    one = made.file(1, 100, "L", ROI_coords="[[3, 2, 12, 10], [1, 1, 4, 5]]")
    made.finding(1, 100, "L", "M", path_severity=0, massshape="I")
    two = made.file(2, 200, "L", ROI_coords="[[3, 2, 12, 10]]")
    made.finding(2, 200, "L", "M", path_severity=0, massshape="I")
    made.finding(2, 200, "L", "B", calcfind="A", path_severity=4)
    broken = made.file(3, 300, "L", ROI_coords="[[3, 2")
    made.finding(3, 300, "L", "N")
    catalogue = read_embed(made.write())
    first, second, third = (by_name(catalogue)[name].lesions for name in (one, two, broken))
    assert [(lesion.type, lesion.pathology) for lesion in first] == [(LesionType.MASS, Pathology.MALIGNANT)] * 2
    assert np.min(first[0].outline, axis=0).tolist() == [3, 2]
    assert [(lesion.type, lesion.pathology) for lesion in second] == [(None, None)]
    assert (third, catalogue.notes) == ((), {"regions_not_understood": 1})


def test_folder_is_prepared_and_training_names_the_licence(made, tmp_path, caplog):
    for patient in range(12):
        for side in "LR":
            made.file(patient, 100 * patient, side)
        made.finding(patient, 100 * patient, "L", "M" if patient < 6 else "N", path_severity=0 if patient < 6 else "")
    _, datalist = prepared("embed", made.write(), tmp_path / "out")
    assert datalist["models_may_be_passed_on"] is False
    with caplog.at_level(logging.WARNING):
        load_datalist(tmp_path / "out", "training")
        load_datalist(tmp_path / "out", "validation")
    assert [record.message for record in caplog.records if "forbids passing on" in record.message] == [
        f"{tmp_path / 'out'}: the licence of embed forbids passing on models or weights trained on it"
    ]
    _, given = prepared("embed", tmp_path / "src", tmp_path / "given", protocol="given")
    assert {int(sample["patient_id"]) % 2 for sample in given["test"]} == {1}  # cohort 2

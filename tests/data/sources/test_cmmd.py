"""CMMD: rows for affected breasts alone, side and view in the headers."""

from pathlib import Path

import pytest
from pydicom import Dataset, Sequence
from release_files import check_rows, pixels, prepared, reasons, samples_of, write_csv, write_sheet
from test_dicom import write_dicom

from monai_e2e.data.records import Laterality
from monai_e2e.data.sources.cmmd import read_cmmd
from monai_e2e.errors import UserError

pytest.importorskip("python_calamine")

#: Every image is of 8 bits with this window, and names neither vendor nor View Position.
WINDOW = {"VOILUTFunction": "SIGMOID", "WindowCenter": 128, "WindowWidth": 256}
CODES = {"CC": "399162004", "MLO": "399368009"}


def view_code(view: str, scheme: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = CODES[view], scheme, "cranio-caudal"
    return Sequence([item])


def write_cmmd(folder: Path, scheme: str = "SCT") -> Path:
    """12 patients: D1-0001 with both breasts in the table, D1-0002 with two images, D2-0003 of no row."""
    rows = []
    for number in range(12):
        patient = f"D{1 + number % 2}-{number + 1:04d}"
        sides = "LR" if number == 0 else "L"
        for side in sides if number != 3 else "":
            row = {"ID1": patient, "LeftRight": side, "Age": 40 + number, "number": 2, "abnormality": "mass"}
            row["classification"] = "Malignant" if number < 7 and side == "L" else "Benign"
            rows.append({**row, "subtype": "Luminal A" if number == 1 else ""})
        for place, (side, view) in enumerate((s, v) for s in ("L" if number == 1 else "LR") for v in CODES):
            header = {"PatientID": patient, "ImageLaterality": side, "ViewCodeSequence": view_code(view, scheme)}
            header["PatientOrientation"] = ["A", "R"]
            series = folder / "manifest-1616439774456/CMMD" / patient / "07-18-2010-NA-NA-1" / "1.000000-NA-1"
            write_dicom(series / f"1-{place + 1}.dcm", pixels(10 * number + place), **header, **WINDOW)
    rows.append({**rows[0], "ID1": "D2-0999"})
    write_sheet(folder / "CMMD_clinicaldata_revision.xlsx", rows)
    return folder


def test_label_is_the_breasts_and_the_other_breast_is_flagged(tmp_path):
    catalogue = check_rows(read_cmmd(write_cmmd(tmp_path)))
    first = {image.laterality: image for image in catalogue.mammograms if image.patient_id == "D1-0001"}
    assert (first[Laterality.LEFT].label, first[Laterality.RIGHT].label, first[Laterality.RIGHT].flags) == (1, 0, ())
    third = {image.laterality: image for image in catalogue.mammograms if image.patient_id == "D1-0003"}
    assert (third[Laterality.LEFT].label, third[Laterality.LEFT].flags) == (1, ())
    assert (third[Laterality.RIGHT].label, third[Laterality.RIGHT].flags) == (0, ("unverified normal",))
    assert reasons(catalogue) == {"patient not in the table": 4, "no image of this breast": 1}
    assert catalogue.notes == {"images_of_breasts_without_a_row": 18}
    assert {image.subtype for image in catalogue.mammograms if image.patient_id == "D2-0002"} == {"Luminal A"}
    assert catalogue.tables["rows"] == 13


def test_patients_are_known_in_folders_of_other_names_too(tmp_path):
    whole = read_cmmd(write_cmmd(tmp_path))
    for path in list(tmp_path.rglob("1-*.dcm")):
        patient, _, series, name = path.relative_to(tmp_path / "manifest-1616439774456/CMMD").parts
        target = tmp_path / "flat" / f"{patient[:2]}x{patient[3:]}{series[:1]}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    flat = check_rows(read_cmmd(tmp_path))
    assert {(image.image_id, image.label) for image in flat.mammograms} == {
        (image.image_id, image.label) for image in whole.mammograms
    }


@pytest.mark.parametrize("scheme", ["", "SNOMED-CT", "99XY"])
def test_views_are_known_by_their_codes_whatever_the_scheme_is_called(tmp_path, scheme):
    assert len(read_cmmd(write_cmmd(tmp_path, scheme)).mammograms) == 42


def test_contralateral_breasts_can_be_left_out(tmp_path):
    catalogue = check_rows(read_cmmd(write_cmmd(tmp_path), exclude_contralateral=True))
    assert len(catalogue.mammograms) == 24
    assert reasons(catalogue)["contralateral breast, of which the table says nothing"] == 18


def test_folder_is_prepared(tmp_path):
    report, datalist = prepared("cmmd", write_cmmd(tmp_path / "src"), tmp_path / "out")
    assert report["notes"]["images_flagged_unverified normal"] == 18
    sample = next(sample for sample in samples_of(datalist) if sample["patient_id"] == "D2-0002")
    assert (sample["age"], sample["subtype"]) == (41, "Luminal A")
    assert (sample["laterality"], sample["view"]) == ("LEFT", "CC")


def test_report_says_that_contralateral_breasts_are_left_out(tmp_path):
    _, datalist = prepared("cmmd", write_cmmd(tmp_path / "src"), tmp_path / "out", exclude_contralateral=True)
    assert datalist["label_rule"].endswith("the other breast, of which the table says nothing, left out")
    assert "Options: exclude contralateral yes." in (tmp_path / "out" / "report.md").read_text()


def test_sigmoid_window_of_eight_bits_is_applied(tmp_path):
    _, datalist = prepared("cmmd", write_cmmd(tmp_path / "src"), tmp_path / "out", window="auto")
    assert {sample["window"] for sample in samples_of(datalist)} == {"SIGMOID"}


def test_tables_alone_do_not_tell_sides_and_views(tmp_path):
    write_csv(tmp_path / "CMMD.csv", [{"ID1": "D1-0001", "LeftRight": "L", "classification": "Benign"}])
    with pytest.raises(UserError, match="stand in their headers"):
        read_cmmd(tmp_path)

"""Side, view, patient and study from DICOM headers: the standard's words only, and no guess."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.headers import read_header
from monai_e2e.data.phantom.storage import new_dataset, save


def item(value, scheme, **more):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "Doe^Jane"
    for name, element in more.items():
        setattr(code, name, element)
    return code


def header(tmp_path, **elements):
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    dataset = new_dataset(DigitalMammographyXRayImageStorageForPresentation, "1.2.3", pixels, 14)
    for name, value in elements.items():
        setattr(dataset, name, value)
    save(dataset, tmp_path / "film.dcm")
    return read_header(tmp_path / "film.dcm")


def test_side_view_patient_and_study_are_read(tmp_path):
    found = header(tmp_path, ImageLaterality="L", ViewPosition="MLO", PatientID=" 7 ", StudyInstanceUID="1.2.9")
    assert (found.laterality, found.view, found.patient, found.study) == ("LEFT", "MLO", "7", "1.2.9")
    assert found.flags == ()


def test_the_series_laterality_serves_where_the_images_is_absent(tmp_path):
    assert header(tmp_path, Laterality="R", ViewPosition="CC").laterality == "RIGHT"


@pytest.mark.parametrize(("code", "scheme"), [("R-10242", "SRT"), ("399162004", "SCT"), ("R-10242", "SNM3")])
def test_the_view_code_serves_where_the_position_is_absent(code, scheme, tmp_path):
    found = header(tmp_path, ImageLaterality="L", ViewCodeSequence=[item(code, scheme)])
    assert (found.view, found.flags) == ("CC", ())


@pytest.mark.parametrize("side", ["B", "U", "left-ish", ""])
def test_other_sides_are_unknown(side, tmp_path):
    found = header(tmp_path, ImageLaterality=side, ViewPosition="CC")
    assert (found.laterality, found.flags) == ("", ("side unknown",))


@pytest.mark.parametrize("position", ["ML", "LM", "XCCL", "FB"])
def test_other_views_are_named_and_never_taken_for_cc_or_mlo(position, tmp_path):
    found = header(tmp_path, ImageLaterality="L", ViewPosition=position)
    assert (found.view, found.flags) == ("", (f"other view position {position}",))


def test_text_that_is_no_view_is_not_repeated(tmp_path):
    found = header(tmp_path, ImageLaterality="L", ViewPosition="DOE JANE", ViewCodeSequence=[item("DOE", "99X")])
    assert (found.view, found.flags) == ("", ("view unknown",))


def test_a_magnification_is_flagged(tmp_path):
    view = item("399162004", "SCT", ViewModifierCodeSequence=[item("399163009", "SCT")])
    assert header(tmp_path, ImageLaterality="L", ViewCodeSequence=[view]).flags == ("partial view",)


def test_a_file_that_is_no_dicom_has_an_empty_header(tmp_path):
    (tmp_path / "film.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    for name in ("film.dcm", "absent.dcm"):
        found = read_header(tmp_path / name)
        assert (found.laterality, found.view, found.patient, found.study) == ("", "", "", "")
        assert found.flags == ("side unknown", "view unknown")

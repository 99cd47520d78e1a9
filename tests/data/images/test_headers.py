"""Side, view, patient and study from DICOM headers: the standard's words only, and no guess."""

import numpy as np
import pytest
from pydicom import Dataset, uid
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from monai_e2e.data.images.headers import Verdict, examine, read_header
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
    save(dataset, tmp_path / "image.dcm")
    return read_header(tmp_path / "image.dcm")


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
    (tmp_path / "image.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    for name in ("image.dcm", "absent.dcm"):
        found = read_header(tmp_path / name)
        assert (found.laterality, found.view, found.patient, found.study) == ("", "", "", "")
        assert found.flags == ("side unknown", "view unknown")


def verdict(**elements):
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return examine(dataset)


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "MG"},
        {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation},
        {"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "MG"},
        {"SOPClassUID": uid.BreastTomosynthesisImageStorage, "Modality": "MG"},
        {"SOPClassUID": "1.2.3.4.5", "Modality": "MG"},
        {"SOPClassUID": uid.DigitalXRayImageStorageForPresentation, "Modality": "DX", "BodyPartExamined": "BREAST"},
        {"SOPClassUID": uid.ComputedRadiographyImageStorage, "Modality": "CR", "BodyPartExamined": "LEFT BREAST"},
        {"SOPClassUID": uid.ComputedRadiographyImageStorage, "Modality": "CR", "ViewPosition": "MLO"},
        {"Modality": "RG", "AnatomicRegionSequence": [item("T-04000", "SRT")]},
        {"Modality": "DX", "AnatomicRegionSequence": [item("76752008", "SCT")]},
    ],
)
def test_mammograms_are_known_by_class_modality_and_body_part(elements):
    assert verdict(**elements).refusal == ""
    assert "no mammogram by its header" not in verdict(**elements).flags


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": uid.CTImageStorage, "Modality": "CT"}, "CT Image Storage"),
        ({"SOPClassUID": uid.CTImageStorage, "Modality": "MG"}, "CT Image Storage"),
        ({"SOPClassUID": uid.UltrasoundImageStorage, "Modality": "US"}, "Ultrasound Image Storage"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "OT"}, "modality OT"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "DOE"}, "modality unknown"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "no modality"),
        ({}, "no modality"),
        ({"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation, "Modality": "US"}, "modality US"),
        ({"SOPClassUID": uid.DigitalXRayImageStorageForPresentation, "Modality": "DX"}, "no word of a breast"),
        ({"Modality": "CR", "BodyPartExamined": "HAND", "ViewPosition": "CC"}, "no word of a breast"),
    ],
)
def test_what_is_no_mammogram_is_refused_with_the_standards_words(elements, reason):
    found = verdict(**elements)
    assert reason in found.refusal
    assert "DOE" not in found.refusal
    assert found.flags[0] == "no mammogram by its header"


@pytest.mark.parametrize(
    ("elements", "flag"),
    [
        ({"BodyPartExamined": "CHEST"}, "body part not breast"),
        ({"SpecimenDescriptionSequence": [Dataset()]}, "specimen"),
        ({"ViewCodeSequence": [item("127457009", "SCT")]}, "specimen"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]}, "biopsy"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnified"),
        ({"BreastImplantPresent": "YES"}, "implant"),
        ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}, "synthesized 2D"),
    ],
)
def test_what_is_odd_about_a_mammogram_is_flagged(elements, flag):
    assert verdict(Modality="MG", **elements) == Verdict("", (flag,))


def test_an_ordinary_mammogram_has_no_flag():
    ordinary = {
        "BodyPartExamined": "BREAST",
        "EstimatedRadiographicMagnificationFactor": "1.07",
        "BreastImplantPresent": "NO",
        "BurnedInAnnotation": "NO",
        "ImageType": ["ORIGINAL", "PRIMARY", ""],
    }
    assert verdict(Modality="MG", **ordinary) == Verdict("", ())


@pytest.mark.parametrize("number", ["", "_1"])
def test_cbis_ddsm_has_patient_side_view_and_kind_in_the_patient_id(number, tmp_path):
    found = header(tmp_path, PatientID=f"Mass-Training_P_00001_LEFT_MLO{number}", PatientOrientation="MLO")
    assert (found.patient, found.laterality, found.view, found.flags) == ("P_00001", "LEFT", "MLO", ())
    assert found.lesion_only == bool(number)


def test_a_view_in_the_patient_orientation_is_read(tmp_path):
    found = header(tmp_path, ImageLaterality="L", PatientOrientation="CC")
    assert (found.view, found.flags) == ("CC", ())

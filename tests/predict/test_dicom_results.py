"""DICOM results: what they say, what they refer to, whose name they keep or leave out, and whether they conform."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_dicom import PLANTED, ROW, picture, results, write_image
from PIL import Image
from pydicom import uid
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from monai_e2e.data.images.dicom import decode_image
from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast
from monai_e2e.errors import UserError
from monai_e2e.predict.dicom_reference import DISCLAIMER
from monai_e2e.predict.dicom_results import write_dicom_results

sr = pytest.importorskip("highdicom.sr")


def conforms(path: Path) -> str:
    """What dciodvfy says; fails on errors."""
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    assert "Error" not in said, f"{path}:\n{said}"
    assert re.search(r"^(SCImage|ComprehensiveSR)$", said, re.MULTILINE), said
    return said


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> dict[str, Path]:
    """One image of each data set: CBIS-DDSM's is a Secondary Capture, INbreast's a digital mammogram."""
    root = tmp_path_factory.mktemp("phantoms")
    write_cbis_ddsm(root / "cbis", patients=1, rows=256)
    write_inbreast(root / "inbreast", patients=1, rows=256)
    images = {}
    for name in ("cbis", "inbreast"):
        paths = sorted((root / name).rglob("*.dcm"))
        images[name] = max(paths, key=lambda path: pydicom.dcmread(path, specific_tags=["Rows"]).Rows)
    return images


def test_what_is_not_known_of_an_image_is_left_out(tmp_path):
    source = write_image(tmp_path / "image.dcm", PatientOrientation="CC", Rows=None)
    overlay, report = results(tmp_path / "out", source, laterality="", view="", threshold="", p_malignant=1e-9)
    assert not overlay.PatientOrientation
    assert "ImageLaterality" not in overlay
    assert overlay["Laterality"].is_empty
    assert "PixelAspectRatio" not in overlay
    assert "BurnedInAnnotation" not in overlay
    assert overlay.ImageComments == f"{DISCLAIMER}."
    (group,) = sr.ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups()
    assert group.finding_sites[0].laterality is None
    assert "threshold" not in str(report)


def test_by_default_no_text_of_the_header_is_in_a_result(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    image = pydicom.dcmread(source)
    references = ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    texts = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
    fixed = {"AS": "072Y", "DA": "19510203", "DT": "19510203060708", "TM": "060708", "UI": "1.2.999.666"}
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if tag >> 16 < 8 or not keyword or keyword in (*references, "PhotometricInterpretation"):
            continue
        if vr in texts:
            image.add_new(tag, vr, "PLANTED")
        elif vr in fixed:
            image.add_new(tag, vr, fixed[vr])
    image.PatientAddress = "PLANTED STREET 1"
    private = image.private_block(0x0011, "PLANTEDCREATOR", create=True)
    private.add_new(1, "LO", "PLANTEDPRIVATE")
    private.add_new(2, "UN", b"PLANTEDUNKNOWN")
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "PLANTEDOTHER", "PLANTEDISSUER"
    image.OtherPatientIDsSequence = [item]
    image.save_as(source)
    assert source.read_bytes().count(b"PLANTED") > 1000
    for path in write_dicom_results(tmp_path / "out", "image", ROW, picture(), source):
        content = path.read_bytes()
        for planted in (b"PLANTED", *(value.encode() for value in fixed.values())):
            assert planted not in content
        result = pydicom.dcmread(path)
        assert result.PatientID == "P_1"
        for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
            assert result[name].is_empty


def test_identity_that_is_kept_is_patient_and_study_and_nothing_else(tmp_path):
    source = write_image(tmp_path / "image.dcm", PatientAddress="PLANTEDSTREET")
    paths = write_dicom_results(tmp_path / "out", "image", ROW, picture(), source, keep_identity=True)
    for path in paths:
        result = pydicom.dcmread(path)
        assert {name: str(result[name].value) for name in PLANTED} == PLANTED
        assert result.IssuerOfPatientID == "PLANTEDISSUER"
        for planted in (b"PLANTEDHOSPITAL", b"PLANTEDMAKER", b"PLANTEDMODEL", b"PLANTEDSTREET", b"P_1"):
            assert planted not in path.read_bytes()


@pytest.mark.parametrize(
    ("characters", "name"),
    [("ISO_IR 100", "Müller^Änne"), ("ISO_IR 192", "Łoś^Ewa"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎")],
)
def test_names_of_any_alphabet_are_kept(tmp_path, characters, name):
    source = write_image(tmp_path / "image.dcm", SpecificCharacterSet=characters, PatientName=name)
    for result in results(tmp_path / "out", source, keep_identity=True):
        assert result.PatientName == name


def test_a_repeated_run_gives_the_same_uids_and_another_score_model_or_patient_others(tmp_path):
    source = write_image(tmp_path / "image.dcm")

    def uids(**changes) -> tuple[list[str], list[str]]:
        both = results(tmp_path / "out", source, **changes)
        return [result.SOPInstanceUID for result in both], [result.SeriesInstanceUID for result in both]

    first = uids()
    assert first == uids()
    assert len({*first[0], *first[1]}) == 4
    assert uids(p_malignant="0.731001")[1] == first[1]
    for change in ({"p_malignant": "0.731001"}, {"model": "b"}, {"patient_id": "P_2"}, {"keep_identity": True}):
        assert not set(uids(**change)[0]) & set(first[0])
    for change in ({"model": "b"}, {"patient_id": "P_2"}):
        assert not set(uids(**change)[1]) & set(first[1])
    path, _ = write_dicom_results(tmp_path / "out", "image", ROW, 255 - picture(), source)
    assert pydicom.dcmread(path).SOPInstanceUID not in first[0]


@pytest.mark.parametrize("keep_identity", [False, True])
def test_results_of_an_exam_are_one_series_of_a_kind_under_the_images_numbers(tmp_path, keep_identity):
    study = generate_uid()
    both = []
    for number in (1, 2):
        source = write_image(tmp_path / f"{number}.dcm", StudyInstanceUID=study, InstanceNumber=1)
        paths = write_dicom_results(tmp_path / "out", str(number), ROW, picture(), source, keep_identity, number)
        both.append([pydicom.dcmread(path) for path in paths])
    for first, second in zip(*both, strict=True):
        assert first.SeriesInstanceUID == second.SeriesInstanceUID
        assert first.StudyInstanceUID == second.StudyInstanceUID
        assert first.SOPInstanceUID != second.SOPInstanceUID
        assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    overlay, report = both[0]
    assert overlay.SeriesInstanceUID != report.SeriesInstanceUID
    assert overlay.StudyInstanceUID == report.StudyInstanceUID


def test_a_study_is_never_under_two_patients(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    study = pydicom.dcmread(source).StudyInstanceUID
    kept = results(tmp_path / "out", source, keep_identity=True)
    assert {(result.StudyInstanceUID, result.PatientID) for result in kept} == {(study, PLANTED["PatientID"])}
    first, second = (results(tmp_path / "out", source, patient_id=name)[0].StudyInstanceUID for name in ("a", "b"))
    assert len({study, first, second}) == 3
    (evidence,) = sr.ComprehensiveSR.from_dataset(kept[1]).get_evidence(current_procedure_only=True)
    assert evidence[0] == study


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize("keep_identity", [False, True])
@pytest.mark.parametrize("name", ["cbis", "inbreast"])
def test_results_of_the_data_sets_conform_to_the_standard(tmp_path, phantoms, name, keep_identity):
    pixels = np.round(decode_image(phantoms[name]).pixels * 255).astype(np.uint8)
    overlay = np.stack([pixels, pixels // 2, 255 - pixels], axis=-1)
    for path in write_dicom_results(tmp_path, "a/image", ROW, overlay, phantoms[name], keep_identity):
        conforms(path)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize(
    "image",
    [
        {},
        {"PatientOrientation": "CC", "InstanceNumber": None},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"SOPClassUID": uid.ComputedRadiographyImageStorage},
        {"syntax": uid.JPEGLosslessSV1},
        {"BurnedInAnnotation": "YES", "LossyImageCompression": "01"},
        {"StudyID": None, "AccessionNumber": None, "ReferringPhysicianName": None, "PatientBirthDate": ""},
    ],
)
@pytest.mark.parametrize("row", [{}, {"laterality": "", "view": "", "threshold": "", "patient_id": ""}])
def test_results_of_any_image_conform_to_the_standard(tmp_path, image, row):
    source = write_image(tmp_path / "image.dcm", **image)
    odd = picture(5, 3)  # 45 bytes, to be padded
    for keep_identity in (False, True):
        for path in write_dicom_results(tmp_path, f"image_{keep_identity}", ROW | row, odd, source, keep_identity):
            said = conforms(path)
            # What is left empty on purpose, or because nobody knows it.
            expected = r"would be needed to build DICOMDIR|only permitted to be empty when actually unknown"
            assert not [line for line in said.splitlines() if "Warning" in line and not re.search(expected, line)]


def test_results_lie_below_the_folder_under_the_images_id(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    overlay, report = write_dicom_results(tmp_path / "out", "P_1/L_MLO.1", ROW, picture(), source)
    assert overlay == tmp_path / "out/P_1/L_MLO.1_overlay.dcm"
    assert report == tmp_path / "out/P_1/L_MLO.1_report.dcm"
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == [overlay, report]


@pytest.mark.parametrize("image_id", ["../image", "a/../../image", "/tmp/image"])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path, image_id):
    source = write_image(tmp_path / "image.dcm")
    with pytest.raises(UserError, match="leads out of"):
        write_dicom_results(tmp_path / "out", image_id, ROW, picture(), source)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"StudyInstanceUID": None}, "Study Instance UID is missing, .*correct the header"),
        ({"SeriesInstanceUID": None}, "Series Instance UID is missing"),
        ({"SOPInstanceUID": None}, "SOP Instance UID is missing"),
        ({"SOPClassUID": None}, "SOP Class UID is missing"),
        ({"StudyInstanceUID": ""}, "Study Instance UID is missing"),
        ({"StudyInstanceUID": "DOE.JANE"}, "Study Instance UID is invalid"),
        ({"SOPClassUID": "1.2.840.113619.4.26"}, r"a report can't refer to its SOP class \(unknown kind of file\)"),
    ],
)
def test_an_image_that_can_not_be_referred_to_is_a_users_mistake(tmp_path, image, message):
    source = write_image(tmp_path / "image.dcm", **image)
    with pytest.raises(UserError, match=f"image.dcm: {message}"):
        results(tmp_path / "out", source)
    assert not list(tmp_path.glob("out/**/*.dcm"))


def test_identity_can_not_be_kept_where_the_image_has_no_patient_id(tmp_path):
    source = write_image(tmp_path / "image.dcm", PatientID=None)
    with pytest.raises(UserError, match=r"image.dcm: no Patient ID"):
        results(tmp_path / "out", source, keep_identity=True)
    assert results(tmp_path / "out", source)[0].PatientID == "P_1"


def test_sources_that_are_no_dicom_are_a_users_mistake(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "image.png")
    with pytest.raises(UserError, match=r"image.png: no DICOM file, .*give the images as DICOM"):
        results(tmp_path / "out", tmp_path / "image.png")
    with pytest.raises(UserError, match=r"absent.dcm: no DICOM file"):
        results(tmp_path / "out", tmp_path / "absent.dcm")


def test_a_file_that_is_cut_off_is_a_users_mistake(tmp_path):
    source = write_image(tmp_path / "image.dcm")
    source.write_bytes(source.read_bytes()[:400])
    with pytest.raises(UserError, match=r"image.dcm"):
        results(tmp_path / "out", source)


@pytest.mark.parametrize("patient_id", ["x" * 65, "a\\b", "a\nb"])
def test_a_patient_id_that_no_dicom_file_may_have_is_a_users_mistake(tmp_path, patient_id):
    source = write_image(tmp_path / "image.dcm")
    with pytest.raises(UserError, match=r"image.dcm: .*can't be a DICOM Patient ID"):
        results(tmp_path / "out", source, patient_id=patient_id)


def test_without_highdicom_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r'pip install "monai-e2e\[dicom\]"'):
        results(tmp_path / "out", write_image(tmp_path / "image.dcm"))


def test_highdicom_is_not_loaded_before_it_is_needed(run_code):
    assert run_code("import sys, monai_e2e.predict.dicom_results; sys.exit('highdicom' in sys.modules)") == (0, "")

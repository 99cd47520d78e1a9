"""The list of images to classify: ids that hide the header's, tables that say more, mistakes that are named."""

import json
import shutil
import unicodedata

import pydicom
import pytest

from monai_e2e.data.phantom import write_cbis_ddsm, write_inbreast
from monai_e2e.errors import UserError
from monai_e2e.predict.worklist import list_images, list_prepared


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worklist")
    write_inbreast(folder / "download", patients=2, rows=256, workers=1)
    return sorted((folder / "download" / "AllDICOMs").iterdir())


@pytest.fixture
def images(download, tmp_path):
    """Four images ``a.dcm`` … ``d.dcm`` in ``images``."""
    (tmp_path / "images").mkdir()
    for name, path in zip("abcd", download, strict=False):
        shutil.copy(path, tmp_path / "images" / f"{name}.dcm")
    return tmp_path / "images"


def change(path, **elements):
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def table(folder, *lines):
    path = folder.parent / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_patients_and_exams_are_numbered_in_the_order_of_the_paths(images):
    for name, patient, study in (("a", "Z9", "1.7"), ("b", "A1", "1.5"), ("c", "Z9", "1.7"), ("d", "z9", "1.6")):
        change(images / f"{name}.dcm", PatientID=patient, StudyInstanceUID=study)
    found = list_images(images)
    assert [image.patient_id for image in found] == ["patient-0001", "patient-0002", "patient-0001", "patient-0001"]
    assert [image.exam_id for image in found] == ["exam-0001", "exam-0002", "exam-0001", "exam-0003"]


def test_images_without_a_patient_id_are_one_patient_by_study_or_alone_and_flagged(images):
    for name, study in (("a", "1.7"), ("b", "1.7"), ("c", ""), ("d", "")):
        change(images / f"{name}.dcm", PatientID="", StudyInstanceUID=study)
    found = list_images(images)
    assert [image.patient_id for image in found] == [f"patient-000{number}" for number in (1, 1, 2, 3)]
    assert [image.exam_id for image in found] == ["exam-0001", "exam-0001", "", ""]
    assert all(image.flags == ("patient unknown",) for image in found)


@pytest.mark.parametrize(
    ("patients", "studies", "told"),
    [("AAAA", "1234", True), ("AAAA", "1111", False), ("AABB", "1123", False), ("AAAB", "1234", False)],
)
def test_one_patient_id_for_all_studies_is_told_for_it_may_stand_for_several_people(
    patients, studies, told, images, caplog
):
    for name, patient, study in zip("abcd", patients, studies, strict=True):
        change(images / f"{name}.dcm", PatientID=patient, StudyInstanceUID=f"1.{study}")
    list_images(images)
    lines = [record.getMessage() for record in caplog.records if "Patient ID" in record.getMessage()]
    assert len(lines) == told
    assert all(line.startswith(f"{images}: all images, of 4 studies,") and "--table" in line for line in lines)


def test_numbers_of_before_are_kept_and_none_is_given_twice(images):
    for name, patient in zip("abcd", ("P1", "P2", "P3", "P2"), strict=True):
        change(images / f"{name}.dcm", PatientID=patient)
    found = list_images(images, earlier={"d": ("patient-0001", "exam-0001")})
    assert [image.patient_id for image in found] == ["patient-0002", "patient-0001", "patient-0003", "patient-0001"]


def test_a_table_gives_ids_and_labels_and_the_header_what_it_leaves_open(images):
    change(images / "a.dcm", ImageLaterality="L", ViewPosition="CC")
    path = table(
        images,
        "image;patient_id;exam_id;laterality;view;label;density",
        "b.dcm;Müller;2020;R;MLO;malignant;3",
        "a;K-1;;;;0;",
    )
    first, second = list_images(images, path)
    assert (first.image, first.patient_id, first.laterality, first.view, first.label) == ("a", "K-1", "LEFT", "CC", 0)
    assert (second.patient_id, second.exam_id, second.density, second.label) == ("Müller", "2020", 3, 1)
    assert (second.laterality, second.view) == ("RIGHT", "MLO")
    assert second.flags == ("view differs from header",)


def test_a_table_gives_what_subgroups_are_made_of(images):
    header = "image,patient_id,age,vendor,implant,site"
    path = table(images, header, "a,K1,61,GE,1,", "b,K2,,,no,north")
    first, second = list_images(images, path)
    assert first.facts == {"age": 61, "vendor": "GE", "implant": "yes"}
    assert second.facts == {"implant": "no", "site": "north"}
    with pytest.raises(UserError, match=r"table\.csv, row 2: age 'OLD' is no number"):
        list_images(images, table(images, header, "a,K1,old,,,"))


def test_other_views_in_a_table_are_unknown_and_flagged(images):
    path = table(images, "image,patient_id,view", "a.dcm,1,XCCL;x")
    (image,) = list_images(images, path)
    assert (image.view, image.flags) == ("", ("view differs from header", "other view position XCCL,x"))


def test_a_tables_ml_counts_as_mlo_and_says_so(images):
    change(images / "a.dcm", ViewPosition="ML")
    (image,) = list_images(images, table(images, "image,patient_id,view", "a.dcm,1,ml"))
    assert (image.view, image.flags) == ("MLO", ("view ML read as MLO",))


@pytest.mark.parametrize("ending", ["", ".dcm"])
def test_a_table_may_name_images_in_either_form_of_unicode(images, ending):
    (images / "a.dcm").rename(images / unicodedata.normalize("NFD", "é.dcm"))
    (found,) = list_images(images, table(images, "image,patient_id", f"./é{ending},P1"))
    assert found.patient_id == "P1"


def test_images_that_a_table_does_not_name_are_left_out_and_counted(images, caplog):
    assert [image.image for image in list_images(images, table(images, "image,patient_id", "c.dcm,1"))] == ["c"]
    assert "3 of 4 images have no row" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("e.dcm,1,L,0", "row 3: image 'e.dcm' is not in"),
        ("../a.dcm,1,L,0", "row 3: image '../a.dcm' is not in"),
        ("a.dcm,1,L,0", "row 3: image 'a.dcm' has a row already"),
        ("b.dcm,,L,0", "row 3: no patient_id"),
        ("b.dcm,1,sinistra,0", "row 3: laterality 'sinistra'"),
        ("b.dcm,1,L,perhaps", "row 3: label 'perhaps'"),
    ],
)
def test_a_tables_mistakes_are_named_with_their_row(images, line, message):
    path = table(images, "image,patient_id,laterality,label", "a.dcm,1,L,0", line)
    with pytest.raises(UserError, match=r"table\.csv") as caught:
        list_images(images, path)
    assert message in str(caught.value)


def test_a_prepared_folder_brings_labels_lesions_exam_groups_and_the_originals_size(tmp_path):
    lesions = [{"mask": f"{kind}.png", "type": kind} for kind in ("mass", "calcification")]
    known = {"laterality": "LEFT", "view": "CC"}
    samples = [
        {"label": 1, "lesions": lesions, "original_size": [4000, 3000], "density": 2},
        {"label": 0, "lesions": [], "exam_id": "E1", "age": 61, "vendor": "GE", "implant": "no"},
    ]
    samples = [{"image": f"{n}.png", "patient_id": f"P{n}", **known, **sample} for n, sample in enumerate(samples)]
    for name in ("0", "1", "mass", "calcification"):
        (tmp_path / f"{name}.png").touch()
    content = {"image_size": [8, 6], "pixel_mean": None, "training": [], "validation": [], "test": samples}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    first, second = list_prepared(tmp_path, "test")
    assert (first.image, str(first.path), first.patient_id) == ("0", str(tmp_path / "0.png"), "P0")
    assert (first.label, first.density, first.original_size) == (1, 2, (4000, 3000))
    assert (first.lesion_type, len(first.masks)) == ("calcification+mass", 2)
    assert (first.exam_id, first.facts) == ("", {})
    assert (second.label, second.lesion_type, second.masks, second.original_size) == (0, "", (), None)
    assert (second.exam_id, second.facts) == ("E1", {"age": 61, "vendor": "GE", "implant": "no"})


def test_cbis_ddsms_images_are_listed_without_crops_and_masks_and_with_their_places(tmp_path, caplog):
    write_cbis_ddsm(tmp_path / "cbis", patients=2, rows=256)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "cbis").rglob("*.dcm")]
    whole = [header for header in headers if header.SeriesDescription == "full mammogram images"]
    found = list_images(tmp_path / "cbis")
    assert len(found) == len(whole) < len(headers)
    assert len({image.patient_id for image in found}) == 2
    assert all(image.laterality and image.view and not image.flags for image in found)
    assert f"{len(headers) - len(whole)} crops and masks of lesions are left out" in caplog.text


def test_cbis_ddsms_jpeg_release_has_to_be_prepared(images):
    (images / "csv").mkdir()
    (images / "csv" / "dicom_info.csv").touch()
    with pytest.raises(UserError, match="prepare cbis-ddsm"):
        list_images(images)
    assert len(list_images(images, table(images, "image,patient_id", "a.dcm,1"))) == 1


def test_a_file_listed_twice_is_flagged_in_both_places(images):
    shutil.copy(images / "a.dcm", images / "copy.dcm")
    flags = {image.image: "same instance as another" in image.flags for image in list_images(images)}
    assert flags == {"a": True, "b": False, "c": False, "copy": True, "d": False}
    listed = list_images(images, table(images, "image,patient_id", "a.dcm,1", "copy.dcm,2", "b.dcm,3"))
    assert ["same instance as another" in image.flags for image in listed] == [True, False, True]


def test_a_side_that_the_header_contradicts_is_flagged(images):
    change(images / "a.dcm", ImageLaterality="L", ViewPosition="CC")
    (image,) = list_images(images, table(images, "image,patient_id,laterality", "a.dcm,1,R"))
    assert (image.laterality, image.flags) == ("RIGHT", ("side differs from header",))

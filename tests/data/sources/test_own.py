"""Joining a folder of mammograms with a table of labels, on empty files (this reader opens no pixels)."""

import csv
import re
import unicodedata
from pathlib import Path

import pytest
from release_files import check_rows
from test_dicom import ramp, write_dicom

from monai_e2e.data.records import Catalogue, Laterality, View
from monai_e2e.data.sources.own.reader import read_own, safe_id
from monai_e2e.errors import UserError

HEADER = "image,label,patient_id,laterality,view,mask,partition,density"


def write_own(tmp_path: Path, *rows: str, header: str = HEADER, files: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    """A folder ``src`` of empty images and a table beside it; returns the folder."""
    for name in files:
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return tmp_path / "src"


def read(src: Path) -> Catalogue:
    """Read, and check that no row of the table is lost."""
    return check_rows(read_own(src, src.parent / "labels.csv"))


def reasons(catalogue: Catalogue) -> list[tuple[str, int]]:
    return [(item.reason.split(":")[0], item.rows) for item in catalogue.excluded]


def test_three_needed_columns_are_enough(tmp_path):
    src = write_own(tmp_path, "a.png;benign;K1", "b.png;malignant;K2", header="Image;Label;Patient ID")
    catalogue = read(src)
    assert catalogue.name == "folder"
    assert [(image.image_id, image.label, image.laterality, image.view) for image in catalogue.mammograms] == [
        ("K1", 0, None, None),
        ("K2", 1, None, None),
    ]
    assert catalogue.mammograms[0].path == (src / "a.png").resolve()
    assert (catalogue.excluded, catalogue.notes) == ([], {})
    assert catalogue.tables == {"rows": 2, "patients": 2, "files": 2, "views": None}


def test_all_columns_become_the_record(tmp_path):
    files = ("a.png", "b.png", "m/1.png", "m/2.png")
    src = write_own(tmp_path, "a.png,1,K1,left,mlo,m/1.png|m/2.png,train,c", "b.png,0,K2,R,CC,,val,2", files=files)
    catalogue = read(src)
    image = catalogue.mammograms[0]
    assert (image.image_id, image.laterality, image.view) == ("K1_LEFT_MLO", Laterality.LEFT, View.MLO)
    assert (image.partition, image.density, image.rows) == ("training", 3, 1)
    assert [(lesion.number, lesion.type, lesion.pathology, lesion.rows) for lesion in image.lesions] == [
        (1, None, None, 0),
        (2, None, None, 0),
    ]
    assert [lesion.mask_paths for lesion in image.lesions] == [((src / f"m/{i}.png").resolve(),) for i in (1, 2)]
    assert catalogue.mammograms[1].partition == "validation"
    assert catalogue.tables == {"rows": 2, "patients": 2, "files": 2, "views": 2}
    assert catalogue.excluded == []


def test_exams_of_a_patient_are_told_apart_by_the_table(tmp_path):
    header = "image,label,patient_id,exam_id"
    files = ("a.png", "b.png", "c.png")
    src = write_own(tmp_path, "a.png,1,K1,2021/03", "b.png,0,K1,7.0", "c.png,0,K2,", header=header, files=files)
    exams = [image.exam_id for image in read(src).mammograms]
    assert exams == [safe_id("2021/03"), "7", None]
    rows = ("a.png,1,K1,1", "a.png,1,K1,2", "b.png,0,K2,3", "c.png,1,K2,3")
    reason = {item.reason for item in read(write_own(tmp_path, *rows, header=header)).excluded}
    assert reason == {"image listed twice with different values: exam_id"}


FACTS = "image,label,patient_id,age,vendor,machine,site,implant,subtype"


def test_what_subgroups_are_made_of_is_carried(tmp_path):
    src = write_own(tmp_path, "a.png,1,K1,61.0,GE,Pristina,north,1,Luminal A", "b.png,0,K2,,,,,No,", header=FACTS)
    first, second = read(src).mammograms
    assert (first.age, first.vendor, first.machine, first.site) == (61, "GE", "Pristina", "north")
    assert (first.implant, first.subtype) == ("yes", "Luminal A")
    assert (second.age, second.vendor, second.implant, second.subtype) == (None, None, "no", None)


def test_facts_that_differ_or_are_not_understood_are_told(tmp_path):
    rows = ("a.png,1,K1,61,GE", "a.png,1,K1,61,Hologic", "b.png,0,K2,old,GE", "c.png,1,K3,50,GE")
    src = write_own(tmp_path, *rows, header="image,label,patient_id,age,vendor", files=("a.png", "b.png", "c.png"))
    catalogue = read(src)
    assert {item.reason for item in catalogue.excluded} == {"image listed twice with different values: vendor"}
    assert catalogue.notes["ages_not_understood"] == 1


@pytest.mark.parametrize(
    ("word", "label"),
    [("0", 0), ("Negative", 0), ("BENIGN ", 0), ("0.0", 0), ("1", 1), ("positive", 1), ("Malignant", 1), ("1.0", 1)],
)
def test_labels_by_word_or_number(tmp_path, word, label):
    src = write_own(tmp_path, f"a.png,{word},K1", f"b.png,{1 - label},K2", header="image,label,patient_id")
    assert read(src).mammograms[0].label == label


def test_one_class_is_enough_for_testing_alone(tmp_path):
    src = write_own(tmp_path, "a.png,0,K1,,,,test", "b.png,0,K2,,,,test", header="image,label,patient_id,,,,partition")
    assert [image.partition for image in read(src).mammograms] == ["test", "test"]


@pytest.mark.parametrize("word", ["2", "4a", "BI-RADS 5", "birads6", "3.0"])
def test_bi_rads_categories_are_no_labels(tmp_path, word):
    src = write_own(tmp_path, "a.png,1,K1", f"b.png,{word},K2", header="image,label,patient_id")
    with pytest.raises(UserError, match=r"labels\.csv, row 3: label .* BI-RADS category, of which 1 is negative"):
        read(src)


def test_one_patient_written_as_spreadsheets_do_is_one_patient(tmp_path):
    src = write_own(tmp_path, "a.png,0,101.0", "b.png,1,101", header="image,label,patient_id")
    assert {image.patient_id for image in read(src).mammograms} == {"101"}


@pytest.mark.parametrize(("others", "noted"), [("OTHER", True), ("SAME", False)])
def test_one_patient_of_the_headers_under_two_identifiers_is_noted(tmp_path, caplog, others, noted):
    rows = ("a.dcm,0,K1,L,CC", "b.dcm,1,K2,L,CC", "c.dcm,1,K3,L,CC")
    src = write_own(tmp_path, *rows, header="image,label,patient_id,laterality,view", files=())
    src.mkdir()
    for name, patient in (("a", "SAME"), ("b", "SAME"), ("c", others)):
        write_dicom(src / f"{name}.dcm", ramp(), PatientID=patient)
    catalogue = read(src)
    assert ("1 Patient IDs of the headers belong to several patients of the table" in caplog.text) == noted
    assert list(catalogue.notes.values()) == [1] * noted
    assert {image.patient_id for image in catalogue.mammograms} == {"K1", "K2", "K3"}
    assert "SAME" not in caplog.text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("c.png,unsure,K3", "label not understood: 'unsure', allowed are 0, negative, benign, false, 1, positive"),
        ("c.png,,K3", "label not understood: '', allowed are 0, negative"),
        ("c.png,1,", "no patient_id: "),
        (",1,K3", "no image named"),
        ("absent.png,1,K3", "file not on disk"),
        ("c.png,1,K3,both", "laterality not understood: 'BOTH', allowed are empty, L, LEFT, R, RIGHT"),
        ("c.png,1,K3,L,LM", "view neither CC nor MLO: 'LM'"),
        ("c.png,1,K3,L,XCCL", "view neither CC nor MLO: 'XCCL'"),
        ("/etc/passwd,1,K3", "path leaves the folder: it is absolute, write it relative to the folder"),
        ("C:\\images\\c.png,1,K3", "path leaves the folder: it is absolute"),
        ("\\\\server\\c.png,1,K3", "path leaves the folder: it is absolute"),
        ("../outside.png,1,K3", "path leaves the folder: by '..' or by a link"),
        ("sub/../../outside.png,1,K3", "path leaves the folder: by '..' or by a link"),
        ("link.png,1,K3", "path leaves the folder: by '..' or by a link"),
        ("link,1,K3", "file not on disk"),
        ("linked/outside.png,1,K3", "path leaves the folder: by '..' or by a link"),
        ("circle/c.png,1,K3", "file not on disk"),
        ("double,1,K3", "several files fit: double.dcm, double.png, add the ending"),
        ("sub,1,K3", "file not on disk"),
        (f"{'x' * 300}.png,1,K3", "file not on disk"),
    ],
)
def test_unusable_rows_are_excluded_with_the_reason(tmp_path, row, reason):
    files = ("a.png", "b.png", "c.png", "double.dcm", "double.png", "sub/d.png", "../elsewhere/outside.png")
    src = write_own(tmp_path, "a.png,0,K1", "b.png,1,K2", row, files=files)
    (tmp_path / "outside.png").touch()
    (src / "link.png").symlink_to(tmp_path / "outside.png")
    (src / "linked").symlink_to(tmp_path / "elsewhere")
    (src / "circle").symlink_to(src / "circle")
    catalogue = read(src)
    assert [image.patient_id for image in catalogue.mammograms] == ["K1", "K2"]
    assert catalogue.excluded[0].rows == 1
    assert catalogue.excluded[0].path.startswith("labels.csv, row 4: ")
    assert catalogue.excluded[0].reason.startswith(reason)


@pytest.mark.parametrize("text", ["sub/c.1.dcm", "sub\\c.1.dcm", "sub/c.1", "./sub/c.1", "sub/x/../c.1.dcm"])
def test_image_paths_may_have_either_slash_and_no_ending(tmp_path, text):
    src = write_own(tmp_path, "a.png,0,K1", f"{text},1,K2", files=("a.png", "sub/c.1.dcm", "sub/x/d.png"))
    assert read(src).mammograms[1].path == (src / "sub" / "c.1.dcm").resolve()


def test_links_within_the_folder_are_followed(tmp_path):
    src = write_own(tmp_path, "a.png,0,K1", "link.png,1,K2")
    (src / "link.png").symlink_to(src / "b.png")
    catalogue = read(src)
    assert catalogue.mammograms[1].path == (src / "b.png").resolve()
    assert catalogue.notes == {}


def test_lateral_view_ml_is_read_as_mlo_and_counted(tmp_path):
    catalogue = read(write_own(tmp_path, "a.png,0,K1,L,ML", "b.png,1,K2,L,MLO"))
    assert [image.view for image in catalogue.mammograms] == [View.MLO, View.MLO]
    assert catalogue.notes == {"views_ml_read_as_mlo": 1}


def test_unknown_density_is_counted_and_the_image_kept(tmp_path):
    catalogue = read(write_own(tmp_path, "a.png,0,K1,,,,,7", "b.png,1,K2,,,,,4.0"))
    assert [image.density for image in catalogue.mammograms] == [None, 4]
    assert catalogue.notes == {"densities_not_understood": 1}


def test_masks_that_cannot_be_used_are_reported_and_still_count_as_lesions(tmp_path):
    files = ("a.png", "b.png", "m.png")
    (tmp_path / "secret.png").touch()
    src = write_own(tmp_path, 'a.png,1,K1,,,"m.png; ../secret.png;absent.png"', "b.png,0,K2", files=files)
    catalogue = read(src)
    assert [len(lesion.mask_paths) for lesion in catalogue.mammograms[0].lesions] == [1, 0, 0]
    assert [(item.path, item.reason[:40], item.rows) for item in catalogue.excluded] == [
        ("labels.csv, row 2: a.png", "mask not usable: ../secret.png, path lea", 0),
        ("labels.csv, row 2: a.png", "mask not usable: absent.png, file not on", 0),
    ]


def test_rows_of_one_image_add_up_their_masks(tmp_path):
    files = ("a.png", "b.png", "m1.png", "m2.png")
    src = write_own(tmp_path, "a.png,1,K1,L,CC,m1.png", "a,1,K1,L,CC,m2.png", "b.png,0,K2,L,CC", files=files)
    catalogue = read(src)
    assert [(len(image.lesions), image.rows) for image in catalogue.mammograms] == [(2, 2), (0, 1)]
    assert catalogue.notes == {"lesions_of_unknown_type_or_pathology": 2, "rows_of_an_image_listed_before": 1}


@pytest.mark.parametrize(
    ("row", "column"), [("a.png,1,K1,L", "label"), ("a.png,0,K9,L", "patient_id"), ("a,0,K1,R", "laterality")]
)
def test_rows_of_one_image_that_contradict_each_other_are_all_excluded(tmp_path, row, column):
    files = ("a.png", "b.png", "c.png")
    catalogue = read(write_own(tmp_path, "a.png,0,K1,L", "b.png,1,K2,L", "c.png,0,K3,L", row, files=files))
    assert [image.patient_id for image in catalogue.mammograms] == ["K2", "K3"]
    assert [(item.path, item.reason, item.rows) for item in catalogue.excluded] == [
        (f"labels.csv, row {line}: a.png", f"image listed twice with different values: {column}", 1) for line in (2, 5)
    ]


def test_names_may_be_in_either_form_of_unicode_and_have_a_dot_before_them(tmp_path):
    """macOS writes accents as signs of their own, a table from elsewhere doesn't."""
    files = [unicodedata.normalize("NFD", name) for name in ("Müller/é.png", "b.png")]
    src = write_own(tmp_path, "Müller/é.png,1,K1,,,,,", "./b.png,0,K2,,,,,", files=tuple(files))
    assert [image.label for image in read(src).mammograms] == [1, 0]


def test_exported_booleans_are_labels(tmp_path):
    """As pandas and spreadsheet programs write them."""
    src = write_own(tmp_path, "a.png,True,K1,,,,,", "b.png,FALSE,K2,,,,,")
    assert [image.label for image in read(src).mammograms] == [1, 0]


def test_images_of_one_view_are_told_apart_by_file_name_and_then_by_path(tmp_path):
    files = ("a.png", "u/b.png", "v/b.png", "v/ü.png", "c.png", "d.png")
    rows = [f"{name},0,K1,L,CC" for name in files[:4]]
    src = write_own(tmp_path, *rows, "c.png,1,K1,L,CC", "d.png,1,K1_LEFT,,CC", files=files)
    names = [image.image_id for image in read(src).mammograms]
    assert names[0] == "K1_LEFT_CC_a"
    assert re.fullmatch(r"K1_LEFT_CC_b-[0-9a-f]{12}", names[1])
    assert re.fullmatch(r"K1_LEFT_CC_b-[0-9a-f]{12}", names[2])
    assert names[3:] == ["K1_LEFT_CC_-", "K1_LEFT_CC_c", "K1_LEFT_CC_d"]
    assert len({name.lower() for name in names}) == len(files)


def test_patient_ids_become_safe_file_names_that_never_meet(tmp_path):
    assert safe_id("K-0001_a") == "K-0001_a"
    changed = safe_id("../Müller, 1")
    assert re.fullmatch(r"---M-ller--1--[0-9a-f]{12}", changed)
    assert safe_id(changed) != changed
    ids = ["a/b", "a.b", "a b", "a-b", "", "-", "ä", "é" * 100, "e" * 100, "a" * 64, "x\n"]
    assert len({safe_id(name) for name in ids}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", safe_id(name)) for name in ids)
    src = write_own(tmp_path, "a.png,0,a/b", "b.png,1,a.b")
    assert len({image.image_id for image in read(src).mammograms}) == 2


def test_one_person_written_in_two_unicode_forms_stays_one(tmp_path):
    catalogue = read(write_own(tmp_path, "a.png,0,Ren\u00e9", "b.png,1,Rene\u0301"))
    assert len({image.patient_id for image in catalogue.mammograms}) == 1


def test_side_and_view_are_the_header_s_where_the_table_has_none(tmp_path):
    src = write_own(tmp_path, "a,0,K1", "b,1,K2,L", "c,0,K3,,MLO", files=())
    for name in "abc":
        write_dicom(src / name, ramp(), ImageLaterality="R", ViewPosition="CC")
    found = [(image.laterality, image.view) for image in read(src).mammograms]
    assert found == [(Laterality.RIGHT, View.CC), (Laterality.LEFT, View.CC), (Laterality.RIGHT, View.MLO)]


def test_what_labels_rest_on_is_kept(tmp_path):
    header = "image,label,patient_id,label_source,label_unit"
    src = write_own(tmp_path, "a.png,0,K1,BI-RADS,exam", "b.png,1,K2,pathology,exam", header=header)
    assert read(src).facts == {"label_source": "BI-RADS+pathology", "label_unit": "exam"}


def test_no_identifier_of_a_dicom_header_is_read(tmp_path):
    src = write_own(tmp_path, "a,0,K1", "b.png,1,K2", files=("b.png",))
    write_dicom(src / "a", ramp(), PatientID="12345")  # a DICOM file without ending
    catalogue = read(src)
    assert catalogue.mammograms[0].patient_id == "K1"
    assert not re.search("Doe|12345", repr(catalogue))


@pytest.mark.parametrize("count", [2, 21])
def test_images_without_row_are_counted_and_listed_when_few(tmp_path, count):
    files = ("a.png", "b.png", ".hidden.png", "notes.txt", *(f"sub/{i}.jpg" for i in range(count)))
    src = write_own(tmp_path, "a.png,0,K1", "b.png,1,K2", "sub/0.jpg,unsure,K3", files=files)
    (src / "prepared" / "images").mkdir(parents=True)
    (src / "prepared" / "datalist.json").touch()
    (src / "prepared" / "images" / "K1.png").touch()
    write_dicom(src / "image", ramp())
    catalogue = read(src)
    assert catalogue.notes == {"images_without_row": count}  # 1 … and the one without ending
    listed = [item for item in reasons(catalogue) if item == ("image without row", 0)]
    assert len(listed) == (count if count <= 20 else 0)


def test_partitions_stand_in_all_rows_or_none(tmp_path):
    src = write_own(tmp_path, "a.png,0,K1,,,,test", "b.png,1,K2,,,,")
    with pytest.raises(UserError, match=r"labels\.csv: 1 of 2 rows have no partition, the first is row 3; fill in"):
        read(src)
    src = write_own(tmp_path, "a.png,0,K1,,,,test", "b.png,1,K2,,,,holdout")
    with pytest.raises(UserError, match=r"labels\.csv, row 3: partition 'holdout'; allowed are training, train, "):
        read(src)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"labels\.csv: no usable row \(the table is empty\); correct"),
        (["x.png,0,K1", "y.png,0,K1"], r"no usable row \(2 × file not on disk\); correct"),
        (["a.png,0,K1", "b.png,0,K2"], "all 2 usable images have label 0, but 0 and 1 are both needed; add images"),
        (["a.png,0,K1", "b.png,unsure,K2"], r"all 1 usable images have label 0.*\(left out: 1 × label not understood"),
    ],
)
def test_tables_without_both_classes_are_refused(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read(write_own(tmp_path, *rows))


def test_wrong_arguments_say_what_to_do(tmp_path):
    src = write_own(tmp_path, "a.png,0", header="image,label")
    with pytest.raises(UserError, match=r"column 'patient_id' is missing; needed: .*; found: image, label\. Write one"):
        read(src)
    with pytest.raises(UserError, match=r"absent\.csv: no such table; write one row per image, for example `image,"):
        read_own(src, tmp_path / "absent.csv")
    with pytest.raises(UserError, match="absent: no such folder; name the folder that holds the mammograms"):
        read_own(tmp_path / "absent", tmp_path / "labels.csv")
    (src / "here.csv").touch()
    with pytest.raises(UserError, match=r"here\.csv: no such table; did you mean .*src/here\.csv\?"):
        read_own(src, "here.csv")


def test_example_of_the_documentation_works(tmp_path):
    from monai_e2e.data.sources.own import reader as own

    lines = [line.strip() for line in own.__doc__.split("::\n")[1].strip().splitlines()[:3]]
    files = [row["image"] for row in csv.DictReader(lines)]
    catalogue = read(write_own(tmp_path, *lines[1:], header=lines[0], files=tuple(files)))
    assert [image.image_id for image in catalogue.mammograms] == ["K-0001_RIGHT_CC", "K-0002_LEFT_MLO"]
    assert catalogue.excluded == []

"""Joining INbreast's table, images and outlines, on made-up ones."""

import csv
import io
import logging
import os
import plistlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from release_files import check_rows
from test_dicom import ramp, write_dicom

from monai_e2e.data.images.dicom import read_mammogram
from monai_e2e.data.phantom.inbreast import BI_RADS_SHARES
from monai_e2e.data.phantom.inbreast import write_inbreast as write_phantoms
from monai_e2e.data.phantom.inbreast_defects import DEFECTS
from monai_e2e.data.records import Catalogue, Laterality, LesionType, View
from monai_e2e.data.sources.inbreast.reader import read_inbreast
from monai_e2e.errors import UserError

SPREADSHEETS = Path(__file__).parent / "inbreast"
REAL_TABLES = os.environ.get("MONAI_E2E_REAL_TABLES")
HEADER = ["Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads"]


def write_inbreast(root: Path, rows: list[tuple], rois: dict[int, list[tuple]] | None = None) -> Path:
    """``rows``: (number, patient, side, view, BI-RADS[, on disk]); ``rois``: number → [(name, points)]."""
    (root / "AllXML").mkdir(parents=True)
    (root / "AllDICOMs").mkdir()
    with (root / "INbreast.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(HEADER)
        for number, _, side, view, birads, *_ in rows:
            writer.writerow(["removed", "removed", side, view, "201001", number, "3", birads])
    for number, patient, side, view, _, *on_disk in rows:
        if all(on_disk):
            pixels = ramp(rows=40, columns=30) + np.uint16(number % 50)
            name = f"{number}_{patient}_MG_{side}_{'ML' if view == 'MLO' else view}_ANON.dcm"
            write_dicom(root / "AllDICOMs" / name, pixels)
    for number, regions in (rois or {}).items():
        entries = [{"Name": name, "Point_px": [f"({x}, {y})" for x, y in points]} for name, points in regions]
        with (root / "AllXML" / f"{number}.xml").open("wb") as file:
            plistlib.dump({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(entries), "ROIs": entries}]}, file)
    return root


def write_empty_images(root: Path, names: list[str]) -> None:
    """Empty files stand for images, which this reader doesn't open."""
    (root / "AllDICOMs").mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / "AllDICOMs" / name).touch()


def reasons(catalogue: Catalogue) -> list[tuple[str, int]]:
    """Kinds of exclusions with their rows, after a check that no row of the table is lost."""
    return sorted((item.reason.split(":")[0], item.rows) for item in check_rows(catalogue).excluded)


def test_birads_becomes_label_and_three_is_excluded(tmp_path):
    grades = ["1", "2", "3", "4a", "4b", "4c", "5", "6", "4A ", "4 a", "2.0", "7", ""]
    rows = [(1000 + i, f"p{i:02d}", "L", "CC", grade) for i, grade in enumerate(grades)]
    catalogue = read_inbreast(write_inbreast(tmp_path, rows))
    labels = {image.patient_id: image.label for image in catalogue.mammograms}
    assert [labels.get(f"p{i:02d}") for i in range(len(grades))] == [0, 0, None, 1, 1, 1, 1, 1, 1, 1, 0, None, None]
    assert reasons(catalogue) == [("BI-RADS 3", 1), *[("BI-RADS value not understood", 1)] * 2]
    assert "'7', allowed are 1, 2, 3, 4a" in catalogue.excluded[1].reason


def test_identity_comes_from_file_name_and_ml_means_mlo(tmp_path):
    catalogue = read_inbreast(write_inbreast(tmp_path, [(1, "6c613a14", "R", "MLO", "2"), (2, "ff", "L", "CC", "5")]))
    image = catalogue.mammograms[0]
    assert (image.patient_id, image.laterality, image.view) == ("6c613a14", Laterality.RIGHT, View.MLO)
    assert image.image_id == "6c613a14_RIGHT_MLO"
    assert image.density == 3
    assert image.partition is None


def test_several_images_of_a_view_are_told_apart_by_file_number(tmp_path):
    rows = [(11, "aa", "L", "CC", "1"), (12, "aa", "L", "CC", "1"), (13, "aa", "L", "MLO", "1")]
    catalogue = read_inbreast(write_inbreast(tmp_path, rows))
    assert [image.image_id for image in catalogue.mammograms] == ["aa_LEFT_CC_11", "aa_LEFT_CC_12", "aa_LEFT_MLO"]


def test_outlines_become_lesions_by_their_name(tmp_path):
    box = [(10, 5), (20, 5), (20, 15)]
    names = ["Mass", "Spiculated Region", "Calcification", "Calcifications", "Cluster", "Assymetry", "Distortion"]
    rois = {1: [(name, box) for name in names] + [("Calcification", [(3, 4)])]}
    catalogue = read_inbreast(write_inbreast(tmp_path, [(1, "aa", "L", "CC", "5")], rois))
    lesions = catalogue.mammograms[0].lesions
    assert Counter(lesion.type for lesion in lesions) == {LesionType.MASS: 2, LesionType.CALCIFICATION: 4}
    assert lesions[0].outline[:2] == ((5.0, 10.0), (5.0, 20.0))  # "(x, y)" → (row, column)
    assert all(lesion.pathology is None for lesion in lesions)
    assert catalogue.notes == {
        "outlines_calcification": 4,
        "outlines_mass": 2,
        "outlines_other: assymetry": 1,
        "outlines_other: distortion": 1,
        "outlines_points": 1,
    }


def test_points_and_flat_outlines_stay_lesions_and_are_counted(tmp_path):
    shapes = [[(3, 4)], [(3, 4), (5, 4)], [(3, 4), (5, 6), (7, 8)], [(3, 4), (9, 4), (9, 9)], []]
    rois = {1: [("Calcification", points) for points in shapes]}
    catalogue = read_inbreast(write_inbreast(tmp_path, [(1, "aa", "L", "CC", "5")], rois))
    assert len(catalogue.mammograms[0].lesions) == 4
    assert catalogue.notes == {"outlines_calcification": 4, "outlines_points": 3, "outlines_without_points": 1}


def test_outlines_beyond_the_image_stay_lesions_for_the_preparation_to_judge(tmp_path):
    rois = {1: [("Mass", [(-5, 4), (9, 4), (9, 9)]), ("Mass", [(900, 4), (950, 4), (950, 9)])]}
    catalogue = read_inbreast(write_inbreast(tmp_path, [(1, "aa", "L", "CC", "5")], rois))
    assert len(catalogue.mammograms[0].lesions) == 2
    assert catalogue.notes == {"outlines_beyond_first_row_or_column": 1, "outlines_mass": 2}


def test_unreadable_outline_is_reported_and_the_image_s_others_kept(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "5")], {1: [("Mass", [(1, 2), (3, 4), (9, 0)])] * 4})
    path = src / "AllXML" / "1.xml"
    plist = plistlib.loads(path.read_bytes())
    plist["Images"][0]["ROIs"][0]["Point_px"] = ["1; 2"]
    del plist["Images"][0]["ROIs"][1]["Point_px"]
    plist["Images"][0]["ROIs"][2]["Point_px"] = ["(1, 2)", "(1e999, 2)", "(4, 4)"]
    path.write_bytes(plistlib.dumps(plist))
    catalogue = read_inbreast(src)
    assert len(catalogue.mammograms[0].lesions) == 1
    assert catalogue.excluded[0].path.endswith("1.xml, outline 1")
    assert [item.reason for item in catalogue.excluded] == [
        "outline not readable: image kept without this lesion (ValueError)",
        "outline not readable: image kept without this lesion (KeyError)",
        "outline not readable: image kept without this lesion (ValueError)",
    ]


def test_images_and_outlines_absent_from_disk_or_table_are_excluded(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1"), (2, "bb", "L", "CC", "1", False)], {7: [], 1: []})
    write_empty_images(src, ["99_cc_MG_L_CC_ANON.dcm"])
    catalogue = read_inbreast(src)
    assert len(catalogue.mammograms) == 1
    assert reasons(catalogue) == [
        ("image not in the table", 0),
        ("image not on disk", 1),
        ("outlines of no image in the table", 0),
    ]


def test_rows_of_one_file_number_count_once_unless_they_contradict(tmp_path):
    rows = [
        (1, "aa", "L", "CC", "1"),
        (1, "aa", "L", "CC", "1"),
        (2, "aa", "L", "MLO", "1"),
        (2, "aa", "L", "MLO", "5"),
        (2, "aa", "L", "MLO", "1"),
    ]
    catalogue = read_inbreast(write_inbreast(tmp_path, rows))
    assert [image.path.name[0] for image in catalogue.mammograms] == ["1"]
    twice = "file number listed twice"
    assert reasons(catalogue) == [(twice, 1), *[(f"{twice} with different values", 1)] * 3]


def test_rows_without_number_or_view_are_excluded_and_rows_below_the_images_counted(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1"), (2, "bb", "L", "XX", "1")])
    with (src / "INbreast.csv").open("a") as file:
        file.write("removed;removed;L;CC;201001;;3;1\n;;;;;2;;\nsums;;;;;;;\n;;;;;;;\n")
    catalogue = read_inbreast(src)
    assert reasons(catalogue) == [("file number not understood", 1), ("view neither CC nor MLO", 1)]
    assert catalogue.notes == {"table_rows_without_image": 2}
    assert catalogue.tables["rows"] == 3


def test_tables_counts_rows_patients_files_and_views(tmp_path):
    rows = [
        (1, "aa", "L", "CC", "1"),
        (2, "aa", "L", "FB", "1"),  # the same view as CC
        (3, "bb", "R", "ML", "3"),
        (4, "bb", "R", "MLO", "5"),
        (4, "bb", "R", "MLO", "5"),
    ]
    assert read_inbreast(write_inbreast(tmp_path, rows)).tables == {"rows": 5, "patients": 2, "files": 4, "views": 2}


def test_side_and_view_come_from_the_table_first(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "R", "CC", "1"), (2, "bb", "L", "CC", "1")])
    table = src / "INbreast.csv"
    table.write_text(table.read_text().replace(";R;CC;", ";L;MLO;").replace(";L;CC;", ";;;"))
    catalogue = read_inbreast(src)
    assert [image.image_id for image in catalogue.mammograms] == ["aa_LEFT_MLO", "bb_LEFT_CC"]
    assert catalogue.notes == {"file_names_against_table": 1}


@pytest.mark.parametrize("delimiter", [";", ","])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_table_s_separators_and_byte_order_mark_do_not_matter(tmp_path, delimiter, start):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1"), (2, "bb", "L", "CC", "4a")])
    table = src / "INbreast.csv"
    table.write_bytes(start + table.read_bytes().replace(b";", delimiter.encode()))
    assert [image.label for image in read_inbreast(src).mammograms] == [0, 1]


def test_folders_are_found_in_any_case_and_apart_from_the_table(tmp_path):
    release = write_inbreast(tmp_path / "disk", [(1, "aa", "L", "CC", "1")], {1: [("Mass", [(1, 2), (3, 4), (9, 0)])]})
    src = tmp_path / "src"
    (src / "a" / "tables").mkdir(parents=True)
    (release / "INbreast.csv").rename(src / "a" / "tables" / "inbreast.CSV")
    (release / "AllXML").rename(src / "allxml")
    (src / "b").mkdir()
    (release / "AllDICOMs").rename(release / "ALLDICOMS")
    (src / "b" / "ALLDICOMS").symlink_to(release / "ALLDICOMS")  # images on another disk
    (release / "ALLDICOMS" / "circle").symlink_to(src)
    image = read_inbreast(src).mammograms[0]
    assert (image.image_id, len(image.lesions)) == ("aa_LEFT_CC", 1)


def test_copies_of_an_image_are_reported(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1")])
    shutil.copytree(src / "AllDICOMs", src / "backup")
    catalogue = read_inbreast(src)
    assert catalogue.mammograms[0].path.parent.name == "AllDICOMs"
    assert reasons(catalogue) == [("second image of a file number", 0)]


@pytest.mark.parametrize("suffix", ["xls", "xlsx"])
def test_spreadsheets_are_read_like_the_csv(tmp_path, suffix):
    pytest.importorskip("python_calamine")
    shutil.copy(SPREADSHEETS / f"INbreast.{suffix}", tmp_path)
    names = [
        f"1000000{i + 1}_aa_MG_{side}_{view}_ANON.dcm"
        for i, (side, view) in enumerate([("R", "CC"), ("L", "CC"), ("R", "ML"), ("L", "ML"), ("L", "FB")])
    ]
    write_empty_images(tmp_path, names)
    catalogue = read_inbreast(tmp_path)
    found = [(image.path.name[:8], image.image_id, image.label, image.density) for image in catalogue.mammograms]
    assert found == [
        ("10000001", "aa_RIGHT_CC", 0, 4),
        ("10000003", "aa_RIGHT_MLO", 0, None),
        ("10000004", "aa_LEFT_MLO", 1, 1),
        ("10000005", "aa_LEFT_CC", 1, 2),
    ]
    assert reasons(catalogue) == [("BI-RADS 3", 1)]
    assert catalogue.tables == {"rows": 5, "patients": 1, "files": 5, "views": 4}
    assert catalogue.notes == {"table_rows_without_image": 2}


def test_csv_goes_before_spreadsheets_and_differences_are_told(tmp_path, caplog):
    pytest.importorskip("python_calamine")
    sides = [("R", "CC", "1"), ("L", "CC", "3"), ("R", "MLO", "2"), ("L", "MLO", "1"), ("L", "FB", "6")]
    rows = [(10000001 + i, "aa", *values) for i, values in enumerate(sides)]
    src = write_inbreast(tmp_path, rows)
    table = src / "INbreast.csv"
    for old, new in (("1;3;1", "1;4;1"), ("2;3;3", "2;4;3"), ("3;3;2", "3;;2"), ("4;3;1", "4;1;1"), ("5;3;6", "5;2;6")):
        table.write_text(table.read_text().replace(f"1000000{old}", f"1000000{new}"))
    shutil.copy(SPREADSHEETS / "INbreast.xls", src)
    (src / "old").mkdir()
    (src / "old" / "INbreast.xlsx").write_bytes(b"PK\x03\x04cut off")
    with caplog.at_level(logging.WARNING):
        catalogue = read_inbreast(src)
    assert [image.label for image in catalogue.mammograms] == [0, 0, 0, 1]
    assert catalogue.notes == {"images_told_otherwise: INbreast.xls": 1, "tables_not_readable: old/INbreast.xlsx": 1}
    assert "INbreast.xls contradicts the table for 1 images, for example ['10000004']" in caplog.text


@pytest.mark.parametrize("depth", [5_000, 100_000])
@pytest.mark.parametrize("key", ["Images", "ROIs", "Name", "Point_px"])
def test_deeply_nested_outlines_cost_no_more_than_themselves(tmp_path, key, depth):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1")])
    value = "<array>" * depth + "</array>" * depth
    roi = "<key>Name</key><string>Mass</string><key>Point_px</key><array/>"
    if key in ("Name", "Point_px"):
        roi = f"<key>{key}</key>{value}"
    rois = value if key == "ROIs" else f"<array><dict>{roi}</dict></array>"
    images = value if key == "Images" else f"<array><dict><key>ROIs</key>{rois}</dict></array>"
    (src / "AllXML" / "1.xml").write_text(f"<plist><dict><key>Images</key>{images}</dict></plist>")
    catalogue = read_inbreast(src)
    assert catalogue.mammograms[0].lesions == ()
    assert len(catalogue.excluded) == 1
    assert "not readable" in catalogue.excluded[0].reason


@pytest.mark.parametrize(
    "content",
    [
        b"<plist",
        b"<plist><dict/></plist>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><plist/>',
        b"<plist><key>Images</key></plist>",  # of no dict
        b'<?xml version="1.0" encoding="x-none"?><plist><dict/></plist>',
    ],
)
def test_broken_outlines_are_excluded_and_the_image_kept(tmp_path, content):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1")])
    (src / "AllXML" / "1.xml").write_bytes(content)
    catalogue = read_inbreast(src)
    assert catalogue.mammograms[0].lesions == ()
    assert catalogue.excluded[0].reason.startswith("outlines not readable")


def test_tables_alone_tell_labels_but_not_patients(tmp_path):
    rows = [(1, "aa", "L", "CC", "1", False), (2, "aa", "R", "CC", "3", False), (3, "aa", "R", "FB", "5", False)]
    src = write_inbreast(tmp_path, rows, {3: [("Mass", [(1, 2), (3, 4), (9, 0)])]})
    (src / "AllDICOMs").rmdir()
    catalogue = read_inbreast(src, tables_only=True)
    found = [(image.path, image.image_id, image.label, len(image.lesions)) for image in catalogue.mammograms]
    assert found == [(None, "unknown-1_LEFT_CC", 0, 0), (None, "unknown-3_RIGHT_CC", 1, 1)]
    assert catalogue.tables == {"rows": 3, "patients": None, "files": 3, "views": None}
    assert catalogue.notes["images_of_unknown_patient"] == 3
    assert reasons(catalogue) == [("BI-RADS 3", 1)]


def test_tables_alone_take_patients_from_a_list_of_file_names_or_from_images(tmp_path):
    rows = [(number, "ee", "L", "CC", "1", number == 4) for number in (1, 2, 3, 4)]
    src = write_inbreast(tmp_path, rows)
    lines = [
        "File Name\tPatient ID\tFull File Name",
        "1\tx\t1_AA_MG_L_CC_ANON.dcm",
        "2\t024ee3569b2605dc\t",
        "3\tremoved\t",
        "4\t024ee3569b2605dc\t",
    ]
    (src / "list.tsv").write_text("\n".join(lines))
    catalogue = read_inbreast(src, tables_only=True)
    assert [image.patient_id for image in catalogue.mammograms] == ["aa", "024ee3569b2605dc", "unknown-3", "ee"]
    assert all(image.path is None for image in catalogue.mammograms)
    assert catalogue.tables["patients"] is None
    (src / "list.tsv").write_text("\n".join(lines).replace("removed", "11aa22bb33cc44dd"))
    catalogue = read_inbreast(src, tables_only=True)
    assert catalogue.tables == {"rows": 4, "patients": 4, "files": 4, "views": 4}
    assert catalogue.notes == {}


def test_planted_defects_are_all_told_and_no_row_is_lost(tmp_path):
    planted = write_phantoms(tmp_path / "src", patients=10, seed=1, rows=256, workers=1, defects=True)
    assert planted == dict.fromkeys(DEFECTS, 1)
    with (tmp_path / "src" / "INbreast.csv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter=";"))
    catalogue = read_inbreast(tmp_path / "src")
    threes = sum(row["Bi-Rads"] == "3" for row in table)
    assert threes >= 1
    assert Counter(reasons(catalogue)) == {
        ("BI-RADS 3", 1): threes,
        ("image not on disk", 1): 1,
        ("file number listed twice", 1): 1,
        ("image not in the table", 0): 1,
        ("outlines not readable", 0): 1,
        ("outlines of no image in the table", 0): 1,
    }
    assert catalogue.notes["outlines_other: assymetry"] == 1
    assert catalogue.tables["rows"] == len(table)
    below = next(row["File Name"] for row in table if row["View"] == "FB")
    assert [image.view for image in catalogue.mammograms if image.path.name.startswith(below)] == [View.CC]


def test_phantoms_with_an_image_stored_the_other_way_round_show_the_same_picture(tmp_path):
    for defects in (False, True):
        write_phantoms(tmp_path / str(defects), patients=3, seed=1, rows=256, workers=1, defects=defects)
    same = [
        np.allclose(read_mammogram(path), read_mammogram(tmp_path / "False" / "AllDICOMs" / path.name), atol=1e-6)
        for path in (tmp_path / "True" / "AllDICOMs").iterdir()
        if b"MONOCHROME1" in path.read_bytes()
    ]
    assert same == [True]


def test_wrong_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"INbreast\.csv.*monai-e2e phantom inbreast"):
        read_inbreast(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_inbreast(tmp_path / "absent")
    src = write_inbreast(tmp_path / "a", [(1, "aa", "L", "CC", "1", False)])
    with pytest.raises(UserError, match="AllDICOMs: no files named"):
        read_inbreast(src)
    table = src / "INbreast.csv"
    table.write_text(table.read_text().replace("Bi-Rads", "Grade"))
    write_dicom(src / "AllDICOMs" / "1_aa_MG_L_CC_ANON.dcm", ramp())
    with pytest.raises(UserError, match=r"INbreast\.csv: column 'bi-rads' is missing"):
        read_inbreast(src)


def test_table_without_a_usable_image_is_refused(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "3"), (2, "aa", "L", "CC", "1", False)])
    with pytest.raises(UserError, match=r"none of its 2 images with BI-RADS 1–2 or 4a–6 is on disk\. Unpack"):
        read_inbreast(src)


def check_paper_s_counts(src: Path, table: bytes) -> None:
    """The whole table, with images and alone: 287 + 100 images and 23 left out (paper §3.2.1: 387 and 23)."""
    src.mkdir(exist_ok=True)
    (src / "INbreast.csv").write_bytes(table)
    rows = list(csv.DictReader(io.StringIO(table.decode(), newline=""), delimiter=";"))
    alone = read_inbreast(src, tables_only=True)
    assert alone.tables == {"rows": 410, "patients": None, "files": 410, "views": None}
    write_empty_images(
        src, [f"{r['File Name']}_{int(r['File Name']):016x}_MG_{r['Laterality']}_{r['View']}_ANON.dcm" for r in rows]
    )
    for catalogue in (alone, read_inbreast(src)):
        assert Counter(image.label for image in catalogue.mammograms) == {0: 287, 1: 100}
        assert Counter(reasons(catalogue)) == {("BI-RADS 3", 1): 23}
    assert catalogue.tables == {"rows": 410, "patients": 410, "files": 410, "views": 410}


def test_made_up_table_with_the_real_one_s_assessments_gives_the_paper_s_counts(tmp_path):
    grades = [grade for grade, count in BI_RADS_SHARES.items() for _ in range(count)]
    lines = [f"removed;removed;L;CC;201001;{20000000 + i};2;{grade}" for i, grade in enumerate(grades)]
    check_paper_s_counts(tmp_path, "\r\n".join([";".join(HEADER), *lines, ""]).encode())


@pytest.mark.skipif(not REAL_TABLES, reason="MONAI_E2E_REAL_TABLES names no folder")
def test_real_table_gives_the_paper_s_counts(tmp_path):
    table = next(Path(str(REAL_TABLES)).rglob("INbreast.csv"), None)
    if table is None:
        pytest.skip("INbreast.csv is not there")
    check_paper_s_counts(tmp_path, table.read_bytes())
    names = table.with_name("inbreast_table_v01.tsv")
    if names.is_file():  # patients of 300 of the images
        shutil.rmtree(tmp_path / "AllDICOMs")
        shutil.copy(names, tmp_path)
        catalogue = read_inbreast(tmp_path, tables_only=True)
        assert catalogue.notes["images_of_unknown_patient"] == 110
        known = {image.patient_id for image in catalogue.mammograms if not image.patient_id.startswith("unknown-")}
        assert len(known) == 73  # of 75, two have images with BI-RADS 3 only

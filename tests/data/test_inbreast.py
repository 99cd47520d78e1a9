"""Joining INbreast's table, films and outlines, on made-up ones."""

import csv
import os
import plistlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_dicom import ramp, write_dicom

from monai_e2e.data.inbreast import read_inbreast
from monai_e2e.data.records import Laterality, LesionType, View
from monai_e2e.errors import UserError

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


def test_birads_becomes_label_and_three_is_excluded(tmp_path):
    grades = ["1", "2", "3", "4a", "4b", "4c", "5", "6", "4A ", "7"]
    rows = [(1000 + i, f"p{i:02d}", "L", "CC", grade) for i, grade in enumerate(grades)]
    catalogue = read_inbreast(write_inbreast(tmp_path, rows))
    assert {film.patient_id: film.label for film in catalogue.mammograms} == {
        "p00": 0,
        "p01": 0,
        "p03": 1,
        "p04": 1,
        "p05": 1,
        "p06": 1,
        "p07": 1,
        "p08": 1,
    }
    assert sorted(item.reason for item in catalogue.excluded) == ["BI-RADS 3", "BI-RADS value not understood"]


def test_identity_comes_from_file_name_and_ml_means_mlo(tmp_path):
    catalogue = read_inbreast(write_inbreast(tmp_path, [(1, "6c613a14", "R", "MLO", "2"), (2, "ff", "L", "CC", "5")]))
    film = catalogue.mammograms[0]
    assert (film.patient_id, film.laterality, film.view) == ("6c613a14", Laterality.RIGHT, View.MLO)
    assert film.image_id == "6c613a14_RIGHT_MLO"
    assert film.density == 3
    assert film.partition is None


def test_several_films_of_a_view_are_told_apart_by_file_number(tmp_path):
    rows = [(11, "aa", "L", "CC", "1"), (12, "aa", "L", "CC", "1"), (13, "aa", "L", "MLO", "1")]
    catalogue = read_inbreast(write_inbreast(tmp_path, rows))
    assert [film.image_id for film in catalogue.mammograms] == ["aa_LEFT_CC_11", "aa_LEFT_CC_12", "aa_LEFT_MLO"]


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
        "outlines_neither_mass_nor_calcification": 2,
    }


def test_films_absent_from_disk_or_table_are_excluded(tmp_path):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1"), (2, "bb", "L", "CC", "1", False)])
    write_dicom(src / "AllDICOMs" / "99_cc_MG_L_CC_ANON.dcm", ramp())
    catalogue = read_inbreast(src)
    assert len(catalogue.mammograms) == 1
    assert sorted(item.reason for item in catalogue.excluded) == ["film not in INbreast.csv", "film not on disk"]


@pytest.mark.parametrize("content", [b"<plist", b"<plist><dict/></plist>", b'<!DOCTYPE a [<!ENTITY b "c">]><plist/>'])
def test_broken_outlines_are_excluded_and_the_film_kept(tmp_path, content):
    src = write_inbreast(tmp_path, [(1, "aa", "L", "CC", "1")])
    (src / "AllXML" / "1.xml").write_bytes(content)
    catalogue = read_inbreast(src)
    assert catalogue.mammograms[0].lesions == ()
    assert catalogue.excluded[0].reason.startswith("outlines not readable")


def test_wrong_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"INbreast\.csv.*monai-e2e phantom inbreast"):
        read_inbreast(tmp_path)
    src = write_inbreast(tmp_path / "a", [(1, "aa", "L", "CC", "1", False)])
    with pytest.raises(UserError, match="AllDICOMs: no files named"):
        read_inbreast(src)
    table = src / "INbreast.csv"
    table.write_text(table.read_text().replace("Bi-Rads", "Grade"))
    write_dicom(src / "AllDICOMs" / "1_aa_MG_L_CC_ANON.dcm", ramp())
    with pytest.raises(UserError, match=r"INbreast\.csv: column 'bi-rads' is missing"):
        read_inbreast(src)


@pytest.mark.skipif(not REAL_TABLES, reason="MONAI_E2E_REAL_TABLES names no folder")
def test_real_table_gives_the_paper_s_counts(tmp_path):
    """Empty files with the table's numbers stand for the films, which this reader doesn't open."""
    table = next(Path(str(REAL_TABLES)).rglob("INbreast.csv"), None)
    if table is None:
        pytest.skip("INbreast.csv is not there")
    (tmp_path / "INbreast.csv").write_bytes(table.read_bytes())
    (tmp_path / "AllDICOMs").mkdir()
    with table.open(newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            name = f"{row['File Name']}_{row['File Name']}aa_MG_{row['Laterality']}_{row['View']}_ANON.dcm"
            (tmp_path / "AllDICOMs" / name).touch()
    catalogue = read_inbreast(tmp_path)
    assert Counter(film.label for film in catalogue.mammograms) == {0: 287, 1: 100}
    assert Counter(item.reason for item in catalogue.excluded) == {"BI-RADS 3": 23}

"""A download's files: tables by their columns, images by the end of their paths, and the join of both."""

import errno
import logging
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from release_files import check_rows, reasons, write_csv, write_xlsx

from monai_e2e.data.records import Excluded, Lesion, LesionType, Mammogram
from monai_e2e.data.sources.cells import Refused
from monai_e2e.data.sources.disk import has_images, walk
from monai_e2e.data.sources.naming import safe_id
from monai_e2e.data.sources.own.files import OwnFiles
from monai_e2e.data.sources.release import Entry, Release
from monai_e2e.errors import UserError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def entry(image: str, **facts: object) -> Entry:
    known = {"patient_id": "P1", "laterality": None, "view": None, "label": 0, **facts}
    return Entry(f"t.csv: {image}", image, Mammogram(path=None, **known))


@pytest.mark.parametrize(
    "text", ["b/1.2.3", "b/1.2.3.dcm", "b\\1.2.3.png", "/store/x/b/1.2.3.dcm", " b / 1.2.3.dcm ", "B/1.2.3.DCM"]
)
def test_image_is_found_by_the_end_of_its_path(tmp_path, text):
    release = Release(touch(tmp_path, "copy/a/1.2.3.dcm", "copy/b/1.2.3.dcm", "copy/b/1.2.dcm"), "rsna")
    assert release.relative(release.find(text)) == "copy/b/1.2.3.dcm"


def test_image_that_is_absent_or_there_twice_is_refused(tmp_path):
    release = Release(touch(tmp_path, "a/1.dcm", "b/1.dcm"), "rsna")
    with pytest.raises(Refused, match="image not on disk"):
        release.find("2.dcm")
    with pytest.raises(Refused, match="several files fit"):
        release.find("1.dcm")


def test_of_copies_in_several_formats_the_original_is_read(tmp_path):
    release = Release(touch(tmp_path, "images/a/1.dcm", "png/a/1.png", "png/a/2.png"), "rsna")
    assert release.relative(release.find("a/1")) == "images/a/1.dcm"
    assert [path.name for path in release.images] == ["1.dcm", "2.png"]
    release = Release(touch(tmp_path, "all/3.pgm", "png/3.png", "png/3.dcm"), "mias", originals=(".pgm",))
    assert release.relative(release.find("3")) == "all/3.pgm"


def test_hidden_files_and_links_to_nothing_are_left_out_and_links_are_followed(tmp_path):
    touch(tmp_path / "disk", "1.dcm")
    src = touch(tmp_path / "src", "._2.dcm", ".trash/3.dcm")
    os.symlink(tmp_path / "disk", src / "images")
    os.symlink(src, src / "circle")
    os.symlink(tmp_path / "nothing", src / "4.dcm")
    assert [path.relative_to(src).as_posix() for path in walk(src)] == ["images/1.dcm"]
    assert has_images(src)
    assert not has_images(touch(tmp_path / "tables", "a.csv"))


@pytest.mark.parametrize("read", [lambda src: list(walk(src)), OwnFiles], ids=["public", "own"])
def test_folders_that_cannot_be_read_are_an_error_and_not_missed(tmp_path, monkeypatch, read):
    """As a folder of another owner's is; who runs the tests may be allowed to read anything."""
    touch(tmp_path, "a/1.dcm", "b/2.dcm")
    scandir = os.scandir

    def refuse(folder):
        if os.path.basename(folder) == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"b: can't be read \(Permission denied\)"):
        read(tmp_path)


def test_prepared_folders_among_the_downloads_are_left_out(tmp_path):
    touch(tmp_path, "images/1.dcm", "prepared/datalist.json", "prepared/images/1.png", "prepared/patches/a/1.png")
    assert [path.name for path in walk(tmp_path)] == ["1.dcm"]
    assert [path.name for path in walk(tmp_path / "prepared")] == ["datalist.json", "1.png", "1.png"]


def test_no_patients_name_leads_out_of_the_prepared_folder(tmp_path):
    release = Release(touch(tmp_path, "1.dcm", "2.dcm"), "rsna")
    images = release.join([entry("1.dcm", patient_id="../../P1"), entry("2.dcm", patient_id="P-2")]).mammograms
    assert [image.patient_id for image in images] == [safe_id("../../P1"), "P-2"]
    assert "/" not in images[0].image_id


def test_masks_are_no_images(tmp_path):
    release = Release(touch(tmp_path, "1.png", "masks/1_mask.png"), "csaw-cc", masks=r"_mask\.\w+$")
    assert [path.name for path in release.images] == ["1.png"]
    assert release.find_mask("1_mask") == tmp_path / "masks/1_mask.png"
    assert release.find_mask("2_mask") is None


def test_of_several_tables_the_fullest_is_read(tmp_path, caplog):
    write_csv(tmp_path / "a_reduced.csv", [{"Image ID": 1, "view": "CC"}])
    write_csv(tmp_path / "b.csv", [{"image_id": 1, "view": "CC", "age": 40}])
    write_csv(tmp_path / "c.csv", [{"image_id": 1, "view": "CC", "age": 40, "finding": "mass"}])
    (tmp_path / "notes.csv").write_bytes(b"\xff\xfe no table")
    write_csv(tmp_path / "legend.csv", [{"column": name, "meaning": "…"} for name in ("image_id", "view", "cancer")])
    (tmp_path / "utf16.csv").write_text("image_id,view\n1,CC\n", encoding="utf-16")
    with caplog.at_level(logging.INFO):
        table = Release(tmp_path, "rsna").table(["image_id", "view"], ["age"], without="finding")
    assert table.path.name == "b.csv"
    assert "of 3 tables that fit, b.csv is read" in caplog.text
    with pytest.raises(UserError, match=r"no table .* with the columns image_id, cancer in or under it"):
        Release(tmp_path, "rsna").table(["image_id", "cancer"])


def test_spreadsheet_is_a_table_too_whichever_its_sheet(tmp_path):
    pytest.importorskip("python_calamine")
    write_xlsx(tmp_path / "t.xlsx", notes=[["a title"]], all=[["Image\n ID ", "Age "], [" P1 ", "40"]])
    table = Release(tmp_path, "cdd-cesm").table(["image_id"], ["age"])
    assert table.rows[0][1] == {"image_id": "P1", "age": "40"}


def test_spreadsheet_that_no_library_reads_names_the_package(tmp_path, monkeypatch):
    write_xlsx(tmp_path / "t.xlsx", all=[["image_id"], ["P1"]])
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(UserError, match=r't\.xlsx: .*pip install "monai-e2e\[excel\]"'):
        Release(tmp_path, "cmmd").table(["image_id"])


def test_rows_of_an_image_are_one_mammogram_and_none_is_lost(tmp_path):
    lesion = Lesion(LesionType.MASS, None, 1, outline=((0, 0), (0, 2), (2, 2)), rows=1)
    release = Release(touch(tmp_path, "1.png", "2.png", "3.png", "4.png"), "rsna")
    entries = [
        entry("1.png", label=0, lesions=(lesion,)),
        entry("1.png", label=1, lesions=(lesion, Lesion(None, None, 1, rows=1))),
        entry("2.png"),
        entry("2.png", patient_id="P2"),
        entry("5.png", lesions=(lesion,)),
        Entry("t.csv: 3.png", "3.png", None, "BI-RADS 3"),
        Excluded("t.csv", "damaged", rows=1),
    ]
    catalogue = check_rows(release.join(entries, Counter(oddities=1), patients=2))
    (image,) = catalogue.mammograms
    assert (image.label, image.rows) == (1, 5)
    assert [(found.number, found.type, found.rows) for found in image.lesions] == [
        (1, LesionType.MASS, 2),
        (2, None, 1),
    ]
    assert reasons(catalogue) == {
        "damaged": 1,
        "image not on disk": 1,
        "BI-RADS 3": 1,
        "image listed twice with different values": 2,
        "image without row": 1,
    }
    assert catalogue.notes == {"images_without_row": 1, "oddities": 1}
    assert catalogue.tables == {"rows": 11, "patients": 2, "files": None, "views": None}


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    release = Release(touch(tmp_path, "1.png"), "rsna")
    with pytest.raises(UserError, match=r"no image of rsna can be used \(2 × image not on disk\)"):
        release.join([entry("2.png"), entry("3.png")])
    with pytest.raises(UserError, match="no such folder"):
        Release(tmp_path / "absent", "rsna")
    with pytest.raises(UserError, match=r"rsna\.zip: a file; unpack rsna\.zip first; name"):
        Release(touch(tmp_path, "rsna.zip") / "rsna.zip", "rsna")

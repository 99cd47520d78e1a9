"""KAU-BCMD: BI-RADS as folders, images in two of them, blanks in names and headers, files of macOS."""

from pathlib import Path

import pytest
from release_files import check_rows, prepared, reasons, write_image, write_sheet

from monai_e2e.data.sources.kau_bcmd import read_kau_bcmd
from monai_e2e.errors import UserError

pytest.importorskip("python_calamine")

DENSITY = "Percentage of\n grandular tissue(density)"


def write_kau(folder: Path, words: str = "Birad{}", suffix: str = ".jpg") -> Path:
    rows = []
    for patient in range(12):
        birads = 5 if patient < 3 else 4 if patient < 6 else 3 if patient == 6 else 1
        for view in ("CC", "MLO"):
            for side in "LR":
                name = f"2018_BC{patient:06d}_{view}_{side}"
                spaced = name.replace("_CC", " _CC") if patient == 1 else name
                write_image(folder / words.format(birads) / f"{spaced}{suffix}", len(rows))
                row = {"PatientID": f"BC{patient}", "Patient age ": 50 + patient, "Image path": f"x\\{name}.jpg"}
                rows.append({**row, DENSITY: ("0%-25%", "26%-50%", "51%-75%", ">75%")[patient % 4]})
    write_image(folder / words.format(1) / f"2018_BC000000_CC_R{suffix}", 99)  # in two folders
    (folder / words.format(1) / "._2018_BC000009_CC_R.jpg").write_bytes(b"of macOS")
    write_sheet(folder / "correctSheetlast.xlsx", rows, "correctSheet")
    return folder


@pytest.mark.parametrize(("words", "suffix"), [("Birad{}", ".jpg"), ("BIRAD {}", ".dcm")])
def test_label_is_the_folders_and_the_higher_one_counts(tmp_path, words, suffix):
    catalogue = check_rows(read_kau_bcmd(write_kau(tmp_path, words, suffix)))
    labels = {image.patient_id: image.label for image in catalogue.mammograms}
    assert [labels[f"2018_BC{patient:06d}"] for patient in (0, 1, 3, 7)] == [1, 1, 1, 0]
    assert reasons(catalogue) == {"same image in a folder of BI-RADS 5, which counts": 1, "BI-RADS 3": 4}
    images = {image.image_id: image for image in catalogue.mammograms}
    image = images["2018_BC000001_LEFT_CC"]
    assert (image.age, image.density) == (51, 2)


def test_birads_5_alone_leaves_4_out(tmp_path):
    catalogue = read_kau_bcmd(write_kau(tmp_path), positive="birads5")
    assert {image.patient_id[-1] for image in catalogue.mammograms if image.label} == set("012")
    assert reasons(catalogue)["BI-RADS 4"] == 12


def test_folder_is_prepared(tmp_path):
    src = write_kau(tmp_path / "src")
    (src / "correctSheetlast.xlsx").unlink()  # the labels don't need it
    _, datalist = prepared("kau-bcmd", src, tmp_path / "out")
    assert (datalist["label_source"], datalist["label_unit"]) == ("BI-RADS", "patient")


def test_folder_without_categories_is_refused(tmp_path):
    write_image(tmp_path / "images" / "2018_BC000001_CC_L.jpg")
    with pytest.raises(UserError, match="folders such as Birad1"):
        read_kau_bcmd(tmp_path)

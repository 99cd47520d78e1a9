"""mini-DDSM: the patient's status is not the image's, masks by paths with backslashes, endings that differ."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from release_files import by_name, check_rows, prepared, reasons, write_image, write_sheet

from monai_e2e.data.records import Pathology
from monai_e2e.data.sources.mini_ddsm import read_mini_ddsm

pytest.importorskip("python_calamine")

ROOT = "MINI-DDSM-Complete-PNG-16"


def write_mini_ddsm(folder: Path) -> Path:
    rows = []
    for number in range(12):
        status = "Cancer" if number < 5 else "Benign" if number < 8 else "Normal"
        case = f"{status[0]}_{number:04d}_1"
        for side in ("LEFT", "RIGHT"):
            for view in ("CC", "MLO"):
                name = f"{case}.{side}_{view}"
                place = f"{status}/{number:04d}"
                write_image(folder / ROOT / place / f"{name}.png", len(rows))
                contours = [f"{name}_Mask{n or ''}.png" for n in range(2 if number == 0 else 1)]
                contours = contours if side == "LEFT" and status != "Normal" else []
                for contour in contours if number != 1 else []:
                    mask = np.zeros((24, 20), np.uint8)
                    mask[5:9, 3 + len(contour) % 7 : 12] = 255
                    Image.fromarray(mask).save(folder / ROOT / place / contour)
                row = {"fullPath": f"{place}/{name}.jpg".replace("/", "\\"), "fileName": f"{name}.jpg"}
                row |= {"View": view, "Side": side, "Status": status}
                paths = [f"{place}\\{contour}" for contour in contours] + ["-", "-"]
                row |= {"Tumour_Contour": paths[0], "Tumour_Contour2": paths[1]}
                rows.append({**row, "Age": 60 + number if number else 0, "Density": number % 5})
    write_sheet(folder / "DataWMask.xlsx", [{k: v for k, v in row.items() if k != "Tumour_Contour2"} for row in rows])
    write_sheet(folder / "Data-MoreThanTwoMasks.xlsx", rows)
    return folder


def test_side_without_a_contour_is_negative(tmp_path):
    catalogue = check_rows(read_mini_ddsm(write_mini_ddsm(tmp_path)))
    images = by_name(catalogue)
    assert (images["C_0000_1.LEFT_CC"].label, images["C_0000_1.RIGHT_CC"].label) == (1, 0)
    assert sum(image.label for image in catalogue.mammograms) == 10
    assert [len(images[name].lesions) for name in ("C_0000_1.LEFT_CC", "B_0005_1.LEFT_CC", "N_0009_1.LEFT_CC")] == [
        2,
        1,
        0,
    ]
    assert images["B_0005_1.LEFT_CC"].lesions[0].pathology is Pathology.BENIGN
    assert reasons(catalogue) == {}  # masks aren't images without a row
    assert (images["C_0000_1.LEFT_CC"].age, images["C_0000_1.LEFT_CC"].density) == (None, None)
    assert (images["C_0002_1.LEFT_CC"].age, images["C_0002_1.LEFT_CC"].density) == (62, 2)


def test_of_the_two_copies_of_the_download_the_one_of_16_bits_is_read(tmp_path):
    write_mini_ddsm(tmp_path)
    images = by_name(read_mini_ddsm(tmp_path))
    for path in list(tmp_path.rglob("*.png")):
        copy = tmp_path / "MINI-DDSM-Complete-JPEG-8" / path.relative_to(tmp_path / ROOT).with_suffix(".jpg")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy)
    catalogue = check_rows(read_mini_ddsm(tmp_path))
    assert by_name(catalogue) == images
    assert reasons(catalogue) == {}


def test_contour_that_is_not_on_disk_keeps_its_label(tmp_path):
    lesion = by_name(read_mini_ddsm(write_mini_ddsm(tmp_path)))["C_0001_1.LEFT_CC"].lesions[0]
    assert lesion.mask_paths == ()


def test_folder_is_prepared(tmp_path):
    report, datalist = prepared("mini-ddsm", write_mini_ddsm(tmp_path / "src"), tmp_path / "out")
    assert report["lesions_drawn_as"] == {"mask": 16}
    assert {sample["patient_id"] for name in ("training", "validation", "test") for sample in datalist[name]} >= {
        "Cancer-0000"
    }

"""CDD-CESM: names with blanks, contrast-enhanced images, outlines as drawn in the VGG Image Annotator."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from release_files import by_name, check_rows, prepared, reasons, write_image, write_xlsx

from monai_e2e.data.records import DrawnAs, LesionType, Pathology
from monai_e2e.data.sources.cdd_cesm import read_cdd_cesm

pytest.importorskip("python_calamine")

SHAPES = {
    "P1_L_DM_CC .jpg": {"name": "polygon", "all_points_x": [2, 10, 10], "all_points_y": [3, 3, 12]},
    "P1_L_DM_MLO.jpg": {"name": "circle", "cx": 8, "cy": 12, "r": 4},
    "P2_L_DM_CC.jpg": {"name": "ellipse", "cx": 10, "cy": 12, "rx": 6, "ry": 2, "theta": np.pi / 2},
    "P2_L_DM_MLO.jpg": {"name": "point", "cx": 10, "cy": 12},
    "P6_L_DM_CC.jpg": {},
}


def write_cesm(folder: Path) -> Path:
    rows = []
    for patient in range(1, 13):
        for side in "LR":
            for kind in ("DM", "CESM"):
                for view in ("CC", "MLO"):
                    name = f"P{patient}_{side}_{kind}_{view}"
                    sick = side == "L" and patient < 9
                    row = {"Image_name": f" {name} " if patient == 1 else name, "Patient_ID": patient, "Side": side}
                    row |= {"Type": kind, "Age": 40 + patient, "Breast density (ACR)": "C", "BIRADS": "2$2"}
                    row |= {"Findings": {1: "mass", 2: "calcifications$mass"}.get(patient, "normal"), "View": view}
                    row |= {"Tags": "", "Machine": 1}
                    pathology = ("Malignant" if patient < 6 else "Benign") if sick else "Normal"
                    rows.append({**row, "Pathology Classification/ Follow up": pathology})
                    place = "Low energy images" if kind == "DM" else "Subtracted images"
                    write_image(folder / f"{place} of CDD-CESM" / f"{name}.jpg", len(rows))
    sheet = [list(rows[0]), *(list(row.values()) for row in rows)]
    write_xlsx(folder / "Radiology manual annotations.xlsx", legend=[["Image_name"]], all=sheet)
    with (folder / "Radiology_hand_drawn_segmentations_v2.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["#filename", "file_size", "region_count", "region_id", "region_shape_attributes"])
        writer.writerows([name, 1, 1, 0, json.dumps(shape)] for name, shape in SHAPES.items())
        writer.writerow(["P3_L_DM_CC.jpg", 1, 1, 0, "{'name':"])
    return folder


def test_low_energy_images_alone_are_read(tmp_path):
    catalogue = check_rows(read_cdd_cesm(write_cesm(tmp_path)))
    assert len(catalogue.mammograms) == 48
    assert reasons(catalogue) == {"contrast-enhanced image": 48}
    assert sum(image.label for image in catalogue.mammograms) == 10
    image = by_name(catalogue)["P1_L_DM_CC"]  # blanks in the table
    assert (image.label, image.age, image.density, image.machine) == (1, 41, 3, "1")


def test_outlines_become_lesions_of_the_images_pathology(tmp_path):
    catalogue = read_cdd_cesm(write_cesm(tmp_path))
    images = by_name(catalogue)
    polygon, circle, ellipse = (images[name].lesions[0] for name in ("P1_L_DM_CC", "P1_L_DM_MLO", "P2_L_DM_CC"))
    assert (polygon.type, polygon.pathology, polygon.drawn_as) == (
        LesionType.MASS,
        Pathology.MALIGNANT,
        DrawnAs.POLYGON,
    )
    assert polygon.outline[0] == (3, 2)
    assert (circle.drawn_as, ellipse.type) == (DrawnAs.CIRCLE, None)
    height, width = np.ptp(ellipse.outline, axis=0)  # turned by a quarter
    assert height > 2 * width
    assert catalogue.notes == {"outlines_not_understood": 1, "outlines_without_area": 1}


def test_folder_is_prepared(tmp_path):
    report, datalist = prepared("cdd-cesm", write_cesm(tmp_path / "src"), tmp_path / "out")
    assert report["lesions_drawn_as"] == {"circle": 2, "polygon": 1}
    assert datalist["licence"] == "CC BY 4.0"
